import numpy as np
import pytest
from PIL import Image

from trainer.contract.pictures import ClassCount, ClassCounts
from trainer.pictures.confusion import draw_confusion, edge_of_cell


def _counts(confusion: np.ndarray, name: str = "class") -> ClassCounts:
    return ClassCounts(
        step=1,
        protocol="centre_crop",
        classes=tuple(
            ClassCount(
                label=label,
                name=f"{name} {label}",
                num_samples=int(row.sum()),
                right=int(row[label]),
                within_five=int(row.sum()),
            )
            for label, row in enumerate(confusion)
        ),
        confusion=tuple(map(tuple, confusion.tolist())),
        worst_pairs=(),
    )


def _square(picture: Image.Image, num_classes: int, cell: int) -> np.ndarray:
    """Return the middles of the cells, (n, n, 4)."""
    edge, margin = num_classes * cell, 12
    start = picture.width - margin - edge
    whole = np.asarray(picture)[start : start + edge, start : start + edge]
    assert whole.shape[:2] == (edge, edge)
    return whole[cell // 2 :: cell, cell // 2 :: cell]


def test_the_stronger_a_cell_the_larger_its_share() -> None:
    confusion = np.array([[10, 0, 0], [2, 6, 2], [0, 0, 0]])
    cells = _square(draw_confusion(_counts(confusion)), 3, cell=40)
    strength = cells[..., 3].astype(int)
    assert strength[0, 0] == 255
    assert strength[1, 1] > strength[1, 0] == strength[1, 2] > strength[0, 1] > 0
    # A class without samples is faint all over.
    assert set(strength[2]) == {strength[0, 1]}
    right, wrong = cells[0, 0, :3], cells[1, 0, :3]
    assert (cells[1, 1, :3] == right).all()
    assert (wrong != right).any()


@pytest.mark.parametrize("num_classes", [2, 10, 40, 41, 128, 129, 143, 334, 1000])
def test_any_number_of_classes_fits(num_classes: int) -> None:
    confusion = np.random.default_rng(0).integers(0, 9, (num_classes, num_classes))
    picture = draw_confusion(_counts(confusion, name="a class whose name has many words in it"))
    assert picture.mode == "RGBA"
    assert picture.width == picture.height <= 1200
    # On a ground of its own it would not lie on light and dark alike.
    assert np.asarray(picture)[0, 0, 3] == 0
    if num_classes <= 40:
        unnamed = draw_confusion(_counts(confusion, name=""))
        assert picture.width > unnamed.width


def test_a_thousand_classes_have_a_pixel_each_in_the_order_of_the_set() -> None:
    num_classes = 1000
    dense = np.diag(np.full(num_classes, 6))
    dense[3, 998] = 4
    counts = _counts(dense)
    labels, guesses = dense.nonzero()
    found = zip(labels.tolist(), guesses.tolist(), dense[labels, guesses].tolist(), strict=True)
    sparse = counts.model_copy(update={"confusion": None, "pairs": tuple(found)})
    picture = draw_confusion(sparse)
    assert edge_of_cell(num_classes) == 1
    cells = _square(picture, num_classes, cell=1)
    strength = cells[..., 3].astype(int)
    assert (strength.diagonal()[[0, 1, 2, 4, 999]] == 255).all()
    # Of class 3, four samples in ten are taken for class 998, and none the other way round.
    assert 255 > strength[3, 3] > strength[3, 998] > strength[998, 3] > 0
    assert (cells[3, 998, :3] != cells[3, 3, :3]).any()
    assert (np.asarray(draw_confusion(counts)) == np.asarray(picture)).all()
