import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.unit.trainer.exporting.test_plain import VARIANTS
from trainer.contract.model_spec import ModelSpec
from trainer.exporting import onnx_file
from trainer.exporting.onnx_file import MissingPackageError, read, write
from trainer.exporting.plain import plain_alexnet
from trainer.exporting.trained import ExportError

Models = Callable[..., ModelSpec]

REPOSITORY = Path(__file__).resolve().parents[4]
METADATA = {"pixels": "RGB, 0 to 255", "classes": '["ant", "bee"]'}


def _network(model: ModelSpec) -> torch.nn.Sequential:
    torch.manual_seed(0)
    network = plain_alexnet(model).eval()
    network.get_buffer("mean.image").uniform_(60, 180)
    return network


def _pixels(num_images: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_images)
    return torch.randint(0, 256, (num_images, 64, 64, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.slow
def test_a_file_is_whole_by_itself_and_takes_any_number_of_images(small_model: Models) -> None:
    network = _network(small_model(recipe="source2012"))
    content = write(network, METADATA)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape[1:] == [64, 64, 3]
    assert session.get_modelmeta().custom_metadata_map == METADATA
    for num_images in (1, 2, 7):
        pixels = _pixels(num_images)
        logits, probabilities = session.run(["logits", "probabilities"], {"images": pixels.numpy()})
        expected = network(pixels.permute(0, 3, 1, 2))
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(probabilities, expected.detach().softmax(1), rtol=1e-4)
    # Nothing of the machine that it was made on.
    assert str(REPOSITORY).encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_network_computes_in_onnxruntime_what_it_computes_in_torch(
    small_model: Models, changes: dict[str, Any]
) -> None:
    network = _network(small_model(**changes))
    classify = read(write(network, METADATA))
    for num_images in (1, 5):
        pixels = _pixels(num_images)
        expected = network(pixels.permute(0, 3, 1, 2))
        torch.testing.assert_close(classify(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(
    small_model: Models, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"needs {package}, .* install the extra `expor"):
        write(_network(small_model()), METADATA)


def test_without_onnxruntime_nothing_is_checked_and_nothing_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="needs onnxruntime"):
        read(b"")


def test_what_one_file_cannot_hold_is_refused(
    small_model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_LARGEST_BYTES", 1000)
    with pytest.raises(ExportError, match="an ONNX file holds less than 2 GiB; use --format safet"):
        write(_network(small_model()), METADATA)
