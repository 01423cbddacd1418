"""Where commands may draw."""

import os
from pathlib import Path


def problem_of_picture(path: Path) -> str | None:
    """Return why a picture cannot be written there, before all is drawn; None if it can."""
    if path.suffix.lower() != ".png":
        return f"{path} must end in .png"
    folder = path.parent
    if not folder.is_dir():
        return f"{folder} is no folder; make it, or name another"
    if not os.access(folder, os.W_OK):
        return f"{folder} may not be written to; name another folder"
    return None
