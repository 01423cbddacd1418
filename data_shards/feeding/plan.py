"""What a reader is asked for, checked against the manifest; pure."""

from dataclasses import dataclass

from data_shards.errors import PlanError
from data_shards.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class ReaderPlan:
    """One replica's share of the samples, and how each is cropped."""

    location: str
    """Folder or URL where manifest.json and the shards lie."""
    seed: int
    global_batch_size: int
    crop_size: int
    """Edge of the square crop, in pixels."""
    num_streams: int = 1
    """Equal streams the epoch is cut into; of no meaning when `ordered`."""
    window: int = 4
    """Shards inside which a stream is shuffled; of no meaning when `ordered`."""
    replica: int = 0
    num_replicas: int = 1
    random_crop: bool = True
    """Else the centre."""
    mirror: bool = True
    """Reflect half of the images."""
    images_per_crop: int = 1
    """Images, consecutive as an epoch presents them, that share one crop and one mirror."""
    ordered: bool = False
    """Every sample in the manifest's order, as validation wants it; else shuffled by epoch."""
    names_samples: bool = False
    """Whether batches come with the keys of their samples, which are read from the shards."""

    @property
    def replica_batch_size(self) -> int:
        """Places of the global batch that fall to each replica."""
        return self.global_batch_size // self.num_replicas

    @property
    def share(self) -> slice:
        """Which places of the global batch those are: of whole streams, unless `ordered`."""
        first = self.replica * self.replica_batch_size
        return slice(first, first + self.replica_batch_size)

    def check(self, manifest: Manifest) -> None:
        """Raise PlanError if the numbers do not fit one another, or the images."""
        _divides("replicas", self.num_replicas, "global batch", self.global_batch_size)
        if not self.ordered:
            _divides("streams", self.num_streams, "global batch", self.global_batch_size)
            _divides("replicas", self.num_replicas, "streams", self.num_streams)
        if not 0 <= self.replica < self.num_replicas:
            raise PlanError(f"there is no replica {self.replica} among {self.num_replicas}")
        if self.images_per_crop < 1:
            raise PlanError(f"{self.images_per_crop} images cannot share a crop; use 1 or more")
        if not 1 <= self.crop_size <= manifest.image_size:
            raise PlanError(
                f"a crop of {self.crop_size} pixels does not fit images of "
                f"{manifest.image_size}; pack them larger, or choose a smaller input"
            )


def _divides(name: str, divisor: int, of: str, number: int) -> None:
    if divisor < 1 or number % divisor:
        raise PlanError(f"{divisor} {name} do not divide the {of} of {number}")
