"""What is said of a batch."""

from service.ui.data_batch import DrawnBatch


def drawn(**changes: float) -> DrawnBatch:
    told: dict[str, float] = {"seed": 7, "epoch": 1, "step": 0, "streams": 8, "window": 4}
    told |= {"batch": 128, "image_size": 256, "crop_size": 224, "colour": 0.1}
    return DrawnBatch.model_validate({**told, "num_shown": 32, "num_images": 128, **changes})


def test_the_caption_says_what_was_done() -> None:
    caption = drawn().caption
    for told in (
        "Step 0 of epoch 1, as a job of seed 7 and of the recipe paper is fed it",
        "32 of the 128 images",
        "Crops of 224 × 224 from 256 × 256 pixels",
        "of strength 0.1",
    ):
        assert told in caption


def test_where_all_are_shown_none_are_left_out() -> None:
    one = drawn(num_shown=20, num_images=20)
    assert ": 20 images, each beside its source" in one.caption
    assert one.alt.startswith("20 images of a batch in pairs")
