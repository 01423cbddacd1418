"""A part of the service's bench: one of the things that it measures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.figures import Figure

Say = Callable[[str], None]
"""Tells whoever watches how far it is."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a part came to."""

    figures: list[Figure]
    measured: Any
    """Every single measurement, as JSON takes it."""
    tables: list[Table] = field(default_factory=list)
    """For people, beside the figures."""


Measure = Callable[[Path, Say], Part]
"""Measures, in an empty folder that it may leave full; ends all that it starts."""
