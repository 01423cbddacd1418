import pickle
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_shards.sources.listing import ListedImage, Listing
from data_shards.sources.source import Extent

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.just(
    "\udcff.jpg"
)
NUMBERS = st.integers(0, 2**62)
IMAGES = st.lists(
    st.builds(ListedImage, NAMES, NUMBERS, NUMBERS, st.integers(0, 1), NUMBERS), max_size=6
)


@given(IMAGES, st.slices(6), st.booleans())
def test_a_listing_is_a_sequence_of_what_was_listed(images, part, in_tars):
    listing = Listing(iter(images), ["a.tar", "b.tar"] if in_tars else None)
    expected = [
        (Extent(name, "ab"[file] + ".tar", offset, size) if in_tars else name, label)
        for name, label, size, file, offset in images
    ]
    assert list(listing) == expected
    assert listing[part] == expected[part]
    assert [listing[-1 - place] for place in range(len(images))] == expected[::-1]
    assert list(pickle.loads(pickle.dumps(listing))) == expected


@given(IMAGES, st.lists(NUMBERS, min_size=6, max_size=6))
def test_labels_become_the_numbers_at_their_places(images, numbers):
    images = [image._replace(label=image.label % 6) for image in images]
    listing = Listing(images, None)
    relabelled = listing.relabelled(np.array(numbers))
    expected = [image._replace(label=numbers[image.label]) for image in images]
    assert list(relabelled) == list(Listing(expected, None))
    assert list(listing) == list(Listing(images, None))


@given(IMAGES, IMAGES)
def test_digests_tell_names_sizes_and_labels(images, others):
    def digested(listed, with_labels):
        return Listing(listed, None).sha256(with_labels=with_labels)

    for with_labels, told in ((False, (0, 2)), (True, (0, 1, 2))):
        same = [[image[field] for field in told] for image in images] == [
            [image[field] for field in told] for image in others
        ]
        assert (digested(images, with_labels) == digested(others, with_labels)) == same


def test_a_million_images_fit():
    # 40 bytes and the name, at once; not 300 as Python objects.
    count = 10_000
    listing = Listing((ListedImage(f"{n:09}", 1, 2, 0, 3) for n in range(count)), ["a.tar"])
    held = sum(sys.getsizeof(each) for each in vars(listing).values())
    assert listing._rows.base is not None
    assert held + listing._rows.base.itemsize * 5 * count < 60 * count


def test_an_extent_is_called_by_its_name():
    assert str(Extent("cat/1.jpg", "a.tar", 512, 9)) == "cat/1.jpg"
