import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from trainer.contract.model_spec import ModelSpec
from trainer.exporting import export as module
from trainer.exporting.export import ExportMismatchError, Format, export, metadata
from trainer.exporting.plain import plain_alexnet, plain_weights
from trainer.exporting.trained import About, Trained
from trainer.network.alexnet import AlexNet

Networks = Callable[..., AlexNet]
MakeTrained = Callable[..., Trained]


@pytest.fixture
def make_trained(
    small_network: Networks, small_model: Callable[..., ModelSpec]
) -> Callable[..., Trained]:
    """Makes a small network as read from a checkpoint."""

    def make(**changes: object) -> Trained:
        model = small_model(**changes)
        about = About(
            input_size=64,
            image_size=72,
            classes=("ant", "Kanada-Kranich ß"),
            synsets=None,
            model=model,
            top1=0.25,
            top5=None,
            job_id="job-1",
            step=7,
            epoch=0.5,
            weights_sha256="a" * 64,
            data_sha256="b" * 64,
        )
        mean_image = 255 * torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))
        return Trained(network=small_network(**changes), mean_image=mean_image, about=about)

    return make


def _pixels() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)


def _expected(trained: Trained) -> Tensor:
    images = _pixels() - trained.mean_image
    return trained.network((images, images))


@pytest.mark.parametrize("recipe", ["paper", "source2012"])
def test_a_safetensors_file_tells_all_that_its_use_needs(
    make_trained: MakeTrained, recipe: str, tmp_path: Path
) -> None:
    trained = make_trained(recipe=recipe)
    file = tmp_path / "alexnet.safetensors"
    file.write_bytes(export(trained, "safetensors").content)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    network = plain_alexnet(ModelSpec.model_validate_json(about["model"])).eval()
    network.load_state_dict(weights)
    torch.testing.assert_close(network(_pixels()), _expected(trained), rtol=1e-4, atol=1e-5)
    assert about["format"] == "pt"


def test_metadata_is_text_or_json_and_leaves_out_what_is_not_known(
    make_trained: MakeTrained,
) -> None:
    about = metadata(make_trained().about)
    assert about["pixels"] == "RGB, 0 to 255"
    assert json.loads(about["classes"]) == ["ant", "Kanada-Kranich ß"]
    assert (about["input_size"], about["top1"], about["step"]) == ("64", "0.25", "7")
    assert about["weights_sha256"] == "a" * 64
    assert not {"top5", "synsets"} & about.keys()


def test_a_state_dict_is_loaded_without_running_code(make_trained: MakeTrained) -> None:
    trained = make_trained()
    exported = export(trained, "state-dict")
    weights = torch.load(io.BytesIO(exported.content), weights_only=True)
    network = plain_alexnet(trained.about.model).eval()
    network.load_state_dict(weights)
    torch.testing.assert_close(network(_pixels()), _expected(trained), rtol=1e-4, atol=1e-5)
    assert 0 <= exported.difference < 1e-5


@pytest.mark.parametrize("to", ["safetensors", "state-dict"])
def test_a_file_that_computes_something_else_is_not_given(
    make_trained: MakeTrained, monkeypatch: pytest.MonkeyPatch, to: Format
) -> None:

    def swapped(model: ModelSpec, weights: dict[str, Tensor], mean: Tensor) -> dict[str, Tensor]:
        plain = plain_weights(model, weights, mean)
        # The towers of conv2, the other way round.
        return {**plain, "conv2.weight": torch.cat(plain["conv2.weight"].chunk(2)[::-1])}

    monkeypatch.setattr(module, "plain_weights", swapped)
    with pytest.raises(ExportMismatchError, match=f"the logits that the {to} file computes differ"):
        export(make_trained(), to)


def test_weights_that_are_not_finite_are_not_given(make_trained: MakeTrained) -> None:
    trained = make_trained()
    with torch.no_grad():
        trained.network.fc8.weight[0, 0] = torch.nan
    with pytest.raises(ExportMismatchError, match="by nan of the largest"):
        export(trained, "safetensors")
