"""How to know the data of ILSVRC-2012, on which the paper's Table 2 was measured."""

import hashlib
from collections.abc import Iterable

NUM_TRAINING_IMAGES = 1_281_167
NUM_VALIDATION_IMAGES = 50_000
IMAGE_SIZE = 256  # section 2 of the paper

# Of the WordNet ids of its 1000 classes, n01440764 to n15075141, sorted, a line each.
_SYNSETS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"


def has_its_classes(synsets: Iterable[str | None]) -> bool:
    """Say whether these are the WordNet ids of the 1000 classes, in any order."""
    known = [synset for synset in synsets if synset is not None]
    return hashlib.sha256("\n".join(sorted(known)).encode()).hexdigest() == _SYNSETS_SHA256
