"""Which steps' pictures are kept, so that no attempt has more than a slider shows."""

import shutil
from collections.abc import Collection

from trainer.contract.pictures import INDEX_NAME
from trainer.contract.run_directory import AttemptDirectory

# Assumed: as many as anybody slides through.
MOST_STEPS = 64


def kept(steps: Collection[int], most: int = MOST_STEPS) -> list[int]:
    """Return at most so many of the steps, evenly spread, the first and the last among them.

    One after another that goes whose neighbours are nearest to one another: so they stay evenly
    spread as later ones come, whose number nobody knows. Pure.
    """
    assert most >= 2, "the first and the last"
    left = sorted(steps)
    while len(left) > most:
        # Of equals the earliest.
        _, place = min((left[at + 1] - left[at - 1], at) for at in range(1, len(left) - 1))
        del left[place]
    return left


def thin(attempt: AttemptDirectory, *, drawn: int) -> None:
    """Delete what is too much, and what earlier steps than `drawn` left half drawn.

    Raises OSError.
    """
    folders = attempt.pictured()
    whole = [step for step, folder in folders.items() if (folder / INDEX_NAME).exists()]
    keep = set(kept(whole))
    for step, folder in folders.items():
        if step <= drawn and step not in keep:
            # Whoever reads meanwhile finds no index before it finds no pictures.
            (folder / INDEX_NAME).unlink(missing_ok=True)
            shutil.rmtree(folder)
