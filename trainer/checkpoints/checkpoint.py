"""Writing and loading checkpoints: safetensors and JSON, never pickle.

A checkpoint is one atomic snapshot of weights, velocity, schedule and position. It is copied at
once, then written by a thread into a hidden folder beside its place, forced to disk, and renamed:
a folder under its final name is complete.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.contract.checkpoint import (
    MANIFEST_NAME,
    VELOCITY_NAME,
    WEIGHTS_NAME,
    CheckpointFile,
    CheckpointManifest,
)
from trainer.contract.checkpoint_folder import CheckpointError, measure, verify
from trainer.contract.durable import naming_a_full_disk, sync_file, sync_folder, write_whole
from trainer.contract.run_directory import AttemptDirectory
from trainer.errors import NonFiniteWeightsError

Tensors = Mapping[str, Tensor]

_OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in memory; `manifest.files` is filled in when it is written."""

    manifest: CheckpointManifest
    weights: dict[str, Tensor]
    velocity: dict[str, Tensor]


def take_snapshot(manifest: CheckpointManifest, weights: Tensors, velocity: Tensors) -> Snapshot:
    """Copy the tensors, so that training may go on at once."""
    return Snapshot(manifest, _copies(weights), _copies(velocity))


def write_checkpoint(
    snapshot: Snapshot, folder: Path, check_fence: Callable[[], None]
) -> CheckpointManifest:
    """Write a snapshot under its final name; `check_fence` may still stop it by raising.

    Raises OSError, of which DiskFullError, or NonFiniteWeightsError; nothing is left behind then.
    """
    _check_finite(snapshot)
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with naming_a_full_disk(folder):
            manifest = _write_into(aside, snapshot)
        check_fence()
        aside.rename(folder)
    except BaseException:
        # It would keep a full disk full.
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return manifest


def load_checkpoint(folder: Path, weights: Tensors, velocity: Tensors) -> CheckpointManifest:
    """Verify a checkpoint and copy it into the given tensors, on whatever devices these lie.

    Raises CheckpointError if it is damaged, or of another network.
    """
    manifest = verify(folder)
    _copy_into(folder, WEIGHTS_NAME, weights)
    _copy_into(folder, VELOCITY_NAME, velocity)
    return manifest


def load_weights(folder: Path, weights: Tensors) -> CheckpointManifest:
    """Verify a checkpoint's weights and copy them into the given tensors; its velocity is not read.

    Raises CheckpointError if they are damaged, or of another network.
    """
    manifest = verify(folder, (WEIGHTS_NAME,))
    _copy_into(folder, WEIGHTS_NAME, weights)
    return manifest


def _check_finite(snapshot: Snapshot) -> None:
    """Refuse what no attempt could go on from: gradients may overflow where the loss did not."""
    for what, tensors in (("", snapshot.weights), ("the velocity of ", snapshot.velocity)):
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise NonFiniteWeightsError(step=snapshot.manifest.step, parameter=what + name)


def _write_into(aside: Path, snapshot: Snapshot) -> CheckpointManifest:
    aside.mkdir(parents=True)
    files = {}
    for name, tensors in ((WEIGHTS_NAME, snapshot.weights), (VELOCITY_NAME, snapshot.velocity)):
        with _raising_os_errors():
            save_file(tensors, aside / name)
        sync_file(aside / name)
        size_bytes, sha256 = measure(aside / name)
        files[name] = CheckpointFile(size_bytes=size_bytes, sha256=sha256)
    manifest = snapshot.manifest.model_copy(update={"files": files}).sealed()
    write_whole(aside / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode())
    return manifest


@contextmanager
def _raising_os_errors() -> Iterator[None]:
    """Raise as OSError what safetensors tells of the operating system's errors as text alone."""
    try:
        yield
    except SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _copies(tensors: Tensors) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Read a file of a checkpoint that was verified.

    Raises CheckpointError where it holds no tensors: it is as it was written, and not by us.
    """
    try:
        with _raising_os_errors():
            return load_file(folder / name)
    except SafetensorError as error:
        raise CheckpointError(folder, f"{name} holds no tensors: {error}") from error


def _copy_into(folder: Path, name: str, targets: Tensors) -> None:
    stored = read_tensors(folder, name)
    if stored.keys() != targets.keys():
        difference = ", ".join(sorted(stored.keys() ^ targets.keys()))
        raise CheckpointError(folder, f"{name} does not fit the network: {difference}")
    for key, target in targets.items():
        if stored[key].shape != target.shape:
            shapes = f"{tuple(stored[key].shape)}, not {tuple(target.shape)}"
            raise CheckpointError(folder, f"{name} does not fit the network: {key} is {shapes}")
        with torch.no_grad():
            target.copy_(stored[key])


class Checkpointer:
    """Writes an attempt's checkpoints in a thread, at most one in flight."""

    def __init__(
        self,
        attempt: AttemptDirectory,
        *,
        check_fence: Callable[[], None],
        on_saved: Callable[[Path, CheckpointManifest], None],
    ) -> None:
        """`check_fence` is asked just before each commit; `on_saved` told just after, there."""
        self._attempt = attempt
        self._check_fence = check_fence
        self._on_saved = on_saved
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)

    def save(self, manifest: CheckpointManifest, weights: Tensors, velocity: Tensors) -> None:
        """Take a snapshot and write it; waits while an earlier one is still being written.

        Raises what the earlier one raised.
        """
        self.wait()
        snapshot = take_snapshot(manifest, weights, velocity)
        self._in_flight = self._thread.submit(self._write, snapshot)

    def wait(self) -> None:
        """Wait until nothing is being written; raises what the write raised."""
        if self._in_flight is not None:
            in_flight, self._in_flight = self._in_flight, None
            in_flight.result()

    def raise_if_failed(self) -> None:
        """Raise what the latest write raised, if it has ended; never waits."""
        if self._in_flight is not None and self._in_flight.done():
            self.wait()

    def _write(self, snapshot: Snapshot) -> None:
        folder = self._attempt.checkpoint(snapshot.manifest.step)
        manifest = write_checkpoint(snapshot, folder, self._check_fence)
        self._on_saved(folder, manifest)
