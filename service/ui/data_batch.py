"""How a batch is asked for, and what the picture of it shows, in words. Pure."""

from pydantic import BaseModel, ConfigDict

from service.ui import formats
from trainer.contract.model_spec import Recipe
from trainer.contract.spec import JobSpec


def steps_per_epoch(spec: JobSpec, *, num_samples: int) -> int:
    """Return ⌈N / global batch⌉."""
    return -(-num_samples // spec.optim.global_batch_size)


def options_of(spec: JobSpec, step: int, *, num_samples: int) -> tuple[str, ...]:
    """Return what `python -m data_shards batch` is to draw of a job: a step, counted over all."""
    epoch, of_epoch = divmod(step, steps_per_epoch(spec, num_samples=num_samples))
    numbers = {
        "--seed": spec.seed,
        "--epoch": epoch,
        "--step": of_epoch,
        "--streams": spec.data.num_streams,
        "--window": spec.data.window,
        "--batch": spec.optim.global_batch_size,
        "--crop-size": spec.model.input_size,
        "--colour": spec.augment.colour_strength,
        "--recipe": spec.model.recipe,
    }
    flags = {"--centre-crop": not spec.augment.crop, "--no-mirror": not spec.augment.mirror}
    return (
        *(word for name, value in numbers.items() for word in (name, str(value))),
        *(name for name, is_set in flags.items() if is_set),
    )


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
    recipe: Recipe
    random_crop: bool
    mirror: bool
    num_shown: int
    num_images: int

    @property
    def alt(self) -> str:
        """Stands for the picture."""
        return (
            f"{formats.count(self.num_shown)} images of a batch in pairs: the stored image, pale "
            "but for its crop, and that crop as a network is shown it. In full size by this link."
        )

    @property
    def caption(self) -> str:
        """Says what was done."""
        shown, images = formats.count(self.num_shown), formats.count(self.num_images)
        some = images if shown == images else f"{shown} of the {images}"
        return (
            f"Step {formats.count(self.step)} of epoch {formats.count(self.epoch)}, both counted "
            f"from 0, of seed {self.seed} and the recipe {self.recipe} (batch of "
            f"{formats.count(self.batch)}, {self.streams} streams, window of {self.window} "
            f"shards): {some} images, each beside its source. {self._cut}, {self._mirrored}, "
            f"{self._coloured}; the mean image is not subtracted here{self._undivided}."
        )

    @property
    def _cut(self) -> str:
        crops = "Crops" if self.random_crop else "Centre crops"
        return f"{crops} of {_square(self.crop_size)} from {_square(self.image_size)} pixels"

    @property
    def _mirrored(self) -> str:
        ways = "half of them mirrored" if self.mirror else "none mirrored"
        # Nothing else is drawn for a chunk: the colour is each image's own.
        is_drawn = self.random_crop or self.mirror
        is_alike = is_drawn and self.recipe == "source2012"
        return f"{ways}, 32 images in a row alike" if is_alike else ways

    @property
    def _coloured(self) -> str:
        if not self.colour:
            return "their colour as it was"
        unit = "" if self.recipe == "paper" else " standard deviations"
        return (
            "then colour along the principal components, of strength "
            f"{self.colour:g}{unit} (the paper, section 4.1), which a job adds on its device"
        )

    @property
    def _undivided(self) -> str:
        is_divided = self.recipe == "source2012" and self.colour
        return f", nor all divided by {1 + self.colour:g}" if is_divided else ""


def _square(edge: int) -> str:
    return f"{edge} × {edge}"
