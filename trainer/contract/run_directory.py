"""Where everything of a run lies. Knows names only; who writes what stands beside each."""

import re
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(r"step-([0-9]{8,})")


@dataclass(frozen=True)
class AttemptDirectory:
    """attempts/NUMBER: the only place that attempt writes."""

    run: Path
    number: int

    @property
    def path(self) -> Path:
        """The folder itself; once an order lies in it, earlier attempts are stale."""
        return self.run / "attempts" / f"{self.number:04d}"

    @property
    def order(self) -> Path:
        """AttemptOrder, written by whoever starts the attempt."""
        return self.path / "order.json"

    @property
    def outcome(self) -> Path:
        """Outcome, written by the attempt's driver as its last act."""
        return self.path / "outcome.json"

    @property
    def driver(self) -> Path:
        """Who drives it: made by the driver, and by no other after it."""
        return self.path / "driver.json"

    @property
    def events(self) -> Path:
        """Spool of AttemptEvent lines, written by rank 0 before they are sent."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of step-XXXXXXXX checkpoint folders."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step-{step:08d}"

    def committed(self) -> dict[int, Path]:
        """Folders of checkpoints by step, unread; a copy beside them by another name is none."""
        return _by_step(self.checkpoints)

    @property
    def pictures(self) -> Path:
        """Folder of step-XXXXXXXX folders of pictures, and of what these share."""
        return self.path / "pictures"

    def pictures_at(self, step: int) -> Path:
        """Folder of what is drawn of the network after `step` steps."""
        return self.pictures / f"step-{step:08d}"

    def pictured(self) -> dict[int, Path]:
        """Folders of pictures by step, unread; one without its index is not drawn to its end."""
        return _by_step(self.pictures)

    def ledger(self, rank: int) -> Path:
        """Lines of samples trained, one a step, written by that replica."""
        return self.path / f"ledger-{rank}.jsonl"

    def failure(self, rank: int) -> Path:
        """Outcome of a replica that failed, for the driver that only sees its process die."""
        return self.path / f"failure-{rank}.json"

    def pulse(self, rank: int) -> Path:
        """Pulse of a replica other than rank 0, written over every few seconds while it lives."""
        return self.path / f"pulse-{rank}.json"

    @property
    def log(self) -> Path:
        """What the driver and workers printed."""
        return self.path / "driver.log"

    @property
    def ray_storage(self) -> Path:
        """What Ray Train insists on keeping somewhere."""
        return self.path / "ray"


def _by_step(folder: Path) -> dict[int, Path]:
    matches = ((_STEP.fullmatch(path.name), path) for path in folder.glob("*"))
    return {int(match[1]): path for match, path in matches if match}


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one job."""

    path: Path

    def attempt(self, number: int) -> AttemptDirectory:
        """Return the folder of attempt `number` (from 1)."""
        return AttemptDirectory(self.path, number)

    def newest_attempt(self) -> int:
        """Highest attempt number with a folder; 0 when there is none."""
        return max(
            (
                int(entry.name)
                for entry in (self.path / "attempts").glob("[0-9][0-9][0-9][0-9]")
                if entry.is_dir()
            ),
            default=0,
        )

    @property
    def inputs(self) -> Path:
        """The checkpoints that the job names, each by its path in the run root.

        Put there before the job is stored, and never changed: its weights and its manifest.
        """
        return self.path / "inputs"

    @property
    def report(self) -> Path:
        """The final report (JSON), written by the attempt that succeeds."""
        return self.path / "report.json"

    @property
    def report_markdown(self) -> Path:
        """The same for people, in Markdown."""
        return self.path / "report.md"
