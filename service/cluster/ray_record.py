"""What a control plane must know to find the local Ray of its predecessor: STATE_DIR/ray.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from service.cluster.processes import same_boot, start_of


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where a local Ray is, and which process began it."""

    temp_dir: str
    url: str
    pid: int | None
    start: str | None
    """When that process started, as `start_of` tells it."""
    warm_code: str | None = None
    """Of which code its warm process is; None: it has none."""

    @property
    def lives(self) -> bool:
        """Whether that process is there; a zombie is, until it is waited for."""
        return self.pid is not None and self.start == start_of(self.pid) is not None

    @property
    def session(self) -> int | None:
        """The session that this Ray began, unless its number may be another's now."""
        if self.pid is None or self.start is None or not same_boot(self.start):
            return None
        return self.pid if start_of(self.pid) in (None, self.start) else None


def read_record(path: Path) -> Record | None:
    """Return the record there, None where none is. Raises ValueError where it cannot be read."""
    try:
        return Record(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def write_record(path: Path, record: Record) -> None:
    """Put a record in place of the one that is there, whole or not at all."""
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(asdict(record), indent=1) + "\n")
    aside.replace(path)
