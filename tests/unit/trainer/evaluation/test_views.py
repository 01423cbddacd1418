import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.batches import make_batch, whole
from trainer.contract.spec import Protocol
from trainer.evaluation.views import View, views


def test_the_papers_ten_views_are_corners_centre_and_their_mirrors() -> None:
    ten = views("ten_view", image_size=256, input_size=224)
    # `__trim_borders` of the 2012 source's convdata.py, with its border of 16 pixels.
    border = 16
    starts = [
        (0, 0),
        (0, border * 2),
        (border, border),
        (border * 2, 0),
        (border * 2, border * 2),
    ]
    assert [(view.row, view.column) for view in ten] == starts * 2
    assert [view.mirrored for view in ten] == [False] * 5 + [True] * 5
    assert {view.size for view in ten} == {224}


def test_the_centre_crop_is_one_of_the_ten() -> None:
    (centre,) = views("centre_crop", image_size=256, input_size=224)
    assert centre == View(16, 16, 224)
    assert views("ten_view", image_size=256, input_size=224)[2] == centre


def test_on_images_no_larger_than_the_input_all_views_are_the_image_or_its_mirror() -> None:
    ten = views("ten_view", image_size=64, input_size=64)
    assert set(ten) == {View(0, 0, 64), View(0, 0, 64, mirrored=True)}
    assert len(ten) == 10


@given(
    margin=st.integers(0, 9),
    protocol=st.sampled_from(["centre_crop", "ten_view"]),
    data=st.data(),
)
def test_a_view_is_the_crop_that_a_reader_gives(
    margin: int, protocol: Protocol, data: st.DataObject
) -> None:
    size = 12
    batch = whole(make_batch(num_images=3, crop_size=size + margin, seed=margin, num_real=2))
    before = batch.images.copy()
    view = data.draw(st.sampled_from(views(protocol, image_size=size + margin, input_size=size)))
    seen = view.of(batch)
    for number, image in enumerate(batch.images):
        crop = image[view.row : view.row + size, view.column : view.column + size]
        assert (seen.images[number] == (crop[:, ::-1] if view.mirrored else crop)).all()
    assert seen.images.flags.c_contiguous
    assert seen.offsets.tolist() == [[view.row, view.column]] * 3
    assert seen.mirrored.tolist() == [view.mirrored] * 3
    # The rest is the batch's own, and what it holds is left as it was.
    assert seen.labels is batch.labels
    assert seen.real is batch.real
    np.testing.assert_array_equal(batch.images, before)
