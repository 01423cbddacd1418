"""What the picture of a batch shows, in words. Pure."""

from pydantic import BaseModel, ConfigDict

from service.ui import formats


class DrawnBatch(BaseModel):
    """A batch as `python -m data_shards batch` tells of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seed: int
    epoch: int
    step: int
    """Of the epoch."""
    streams: int
    window: int
    batch: int
    image_size: int
    crop_size: int
    colour: float
    num_shown: int
    num_images: int

    @property
    def alt(self) -> str:
        """Stands for the picture."""
        return (
            f"{formats.count(self.num_shown)} images of a batch in pairs: the stored image, pale "
            "but for its crop, and the crop as a network is shown it, mirrored or not, its colour "
            "shifted. In full size by this link."
        )

    @property
    def caption(self) -> str:
        """Says what was done."""
        shown, images = formats.count(self.num_shown), formats.count(self.num_images)
        some = images if shown == images else f"{shown} of the {images}"
        return (
            f"Step {formats.count(self.step)} of epoch {self.epoch}, as a job of seed {self.seed} "
            f"and of the recipe paper is fed it (batch of {formats.count(self.batch)}, "
            f"{self.streams} streams, window of {self.window} shards): {some} images, each beside "
            f"its source. Crops of {_square(self.crop_size)} from {_square(self.image_size)} "
            "pixels and reflections, then colour along the principal components, of strength "
            f"{self.colour:g} (the paper, section 4.1), which a job adds on its device; the mean "
            "image is not subtracted here."
        )


def _square(edge: int) -> str:
    return f"{edge} × {edge}"
