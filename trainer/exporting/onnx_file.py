"""The plain network as an ONNX graph that holds all it needs: pixels in, probabilities out.

Its packages are an extra of this project, `export`, and imported when used.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.exporting.plain import MEAN_IMAGE
from trainer.exporting.trained import ExportError

INPUT = "images"
OUTPUTS = ("logits", "probabilities")

# Protocol buffers hold no more in one file.
_LARGEST_BYTES = 2**31 - 2**20


class MissingPackageError(ExportError):
    """A package of the extra `export` is not installed."""


class _Graph(nn.Module):
    """uint8 (n, s, s, 3), as image libraries give pixels -> logits and their softmax."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # (n, s, s, 3) -> (n, 3, s, s)
        logits = self.network(images.permute(0, 3, 1, 2))
        return logits, logits.softmax(dim=1)


def write(network: nn.Sequential, metadata: dict[str, str]) -> bytes:
    """Return the graph of a network in evaluation mode, for any number of images.

    Raises MissingPackageError, and ExportError if the weights are too large for one file.
    """
    for package in ("onnx", "onnxscript"):
        _imported(package)
    size_bytes = sum(weight.nbytes for weight in network.state_dict().values())
    if size_bytes > _LARGEST_BYTES:
        raise ExportError(
            f"the weights are {size_bytes / 2**30:.1f} GiB and an ONNX file holds less than 2 GiB; "
            "use --format safetensors"
        )
    edge = network.get_buffer(MEAN_IMAGE).shape[-1]
    program = torch.onnx.export(
        _Graph(network).eval(),
        (torch.zeros(2, edge, edge, 3, dtype=torch.uint8),),
        input_names=[INPUT],
        output_names=OUTPUTS,
        dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:
        # Where in which source file of this machine it came from.
        del node.metadata_props[:]
        node.doc_string = ""
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
    content: bytes = graph.SerializeToString()
    return content


def read(content: bytes) -> Callable[[Tensor], Tensor]:
    """Return what computes logits, (n, classes), of pixels, uint8 (n, s, s, 3), in onnxruntime."""
    session = _imported("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])

    def logits(pixels: Tensor) -> Tensor:
        (computed,) = session.run([OUTPUTS[0]], {INPUT: pixels.numpy()})
        return torch.from_numpy(computed)

    return logits


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"--format onnx needs {package}, which is not installed ({error}); install the extra "
            "`export` (`make setup` does), or pip install onnx onnxscript onnxruntime"
        ) from error
