"""What the API answers of the files of run directories, as types that the client shares."""

from datetime import datetime

from pydantic import Field

from service.views.jobs import View


class LogText(View):
    """Some of what an attempt printed."""

    attempt: int
    offset: int = Field(description="Bytes of the attempt's log before it.")
    next_offset: int = Field(description="Bytes of it with what is told here.")
    text: str = Field(description="Whole lines, where lines are short; no UTF-8 is replaced.")


class Artifact(View):
    """A file of the run directory."""

    path: str = Field(description="Relative to the run directory.")
    size_bytes: int
    modified_at: datetime


class ArtifactList(View):
    """The files of the run directory in the order of their paths."""

    artifacts: tuple[Artifact, ...]
    truncated: bool = Field(default=False, description="Whether there are more than are listed.")
