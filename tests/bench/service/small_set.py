"""Images to train the small preset on, and requests for jobs that do."""

from pathlib import Path
from typing import Any

from tests.acceptance.product import draw_images, pack

NUM_VALIDATION_IMAGES = 100


def small_set(folder: Path, *, num_images: int) -> dict[str, Any]:
    """Draw and pack striped images; return the fields of a request that any job on them needs."""
    data = {}
    for split, count in (("train", num_images), ("validation", NUM_VALIDATION_IMAGES)):
        images = draw_images(folder / f"images-{split}", num_images=count, seed=count)
        data[split] = str(pack(images, folder / split, split=split))
    return {"preset": "small", "name": "bench", "data": data}
