"""Export: a trained network as one file for use elsewhere, checked before it is written.

Every format holds the network of `plain_alexnet`, mean image and all. What the file's own bytes
compute is compared with what the checkpoint's network computes.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.contract.model_spec import ModelSpec
from trainer.exporting import onnx_file
from trainer.exporting.plain import plain_alexnet, plain_weights
from trainer.exporting.trained import About, ExportError, Trained

Format = Literal["safetensors", "onnx", "state-dict"]

Classifier = Callable[[Tensor], Tensor]
"""uint8 (n, s, s, 3) -> logits (n, classes)."""

# Of the largest logit. Sums in another order differ by about 1e-6 (measured).
_TOLERANCE = 1e-4
_NUM_CHECKED = 3


class ExportMismatchError(ExportError):
    """A file computes something else than its checkpoint, and so was not written."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file's content, checked."""

    content: bytes
    difference: float
    """Largest seen between its logits and the checkpoint's, as a share of the largest logit."""


@dataclass(frozen=True, kw_only=True)
class _Codec:
    write: Callable[[nn.Sequential, dict[str, str]], bytes]
    read: Callable[[bytes, ModelSpec], Classifier]


def export(trained: Trained, to: Format) -> Exported:
    """Return a network in a format. Raises ExportError, of which ExportMismatchError."""
    model = trained.about.model
    weights = plain_weights(model, trained.network.state_dict(), trained.mean_image)
    content = _CODECS[to].write(_network(weights, model), metadata(trained.about))
    difference = _difference(_CODECS[to].read(content, model), trained)
    # Nor when it is not a number.
    if not difference <= _TOLERANCE:
        raise ExportMismatchError(
            f"the logits that the {to} file computes differ from the checkpoint's by "
            f"{difference:.2g} of the largest, more than {_TOLERANCE:g}: nothing was written; "
            "export another checkpoint if its weights are not finite, else report this"
        )
    return Exported(content=content, difference=difference)


def metadata(about: About) -> dict[str, str]:
    """Return what a file tells of its network: text as it is, all else as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in about.model_dump(mode="json", exclude_none=True).items()
    }


@torch.no_grad()
def _difference(classify: Classifier, trained: Trained) -> float:
    size = trained.about.input_size
    generator = torch.Generator().manual_seed(0)
    shape = (_NUM_CHECKED, size, size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    # (n, s, s, 3) -> (n, 3, s, s)
    images = pixels.permute(0, 3, 1, 2) - trained.mean_image
    expected = trained.network((images, images))
    # A file must take any number of images.
    computed = torch.cat([classify(pixels[:1]), classify(pixels[1:])])
    return float((computed - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def _write_safetensors(network: nn.Sequential, about: dict[str, str]) -> bytes:
    # What many readers of the format ask for.
    return safetensors.torch.save(network.state_dict(), {"format": "pt", **about})


def _read_safetensors(content: bytes, model: ModelSpec) -> Classifier:
    return _plain(safetensors.torch.load(content), model)


def _write_state_dict(network: nn.Sequential, about: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def _read_state_dict(content: bytes, model: ModelSpec) -> Classifier:
    return _plain(torch.load(io.BytesIO(content), weights_only=True), model)


def _plain(weights: dict[str, Tensor], model: ModelSpec) -> Classifier:
    network = _network(weights, model)
    # (n, s, s, 3) -> (n, 3, s, s)
    return lambda pixels: network(pixels.permute(0, 3, 1, 2))


def _network(weights: dict[str, Tensor], model: ModelSpec) -> nn.Sequential:
    # Without drawing weights that would be thrown away: seconds at full size.
    with torch.device("meta"):
        network = plain_alexnet(model).eval()
    network.load_state_dict(weights, assign=True)
    return network


_CODECS: Mapping[Format, _Codec] = {
    "safetensors": _Codec(write=_write_safetensors, read=_read_safetensors),
    "state-dict": _Codec(write=_write_state_dict, read=_read_state_dict),
    "onnx": _Codec(write=onnx_file.write, read=lambda content, _: onnx_file.read(content)),
}
