"""The confusion of the classes as a picture, on no ground of its own: it lies on light and dark."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_shards.arrays import Int64s, Pixels
from data_shards.inspection.contact_sheet import printed, shortened
from trainer.contract.pictures import ClassCounts

# Pixels; chosen by eye.
_LARGEST_CELL, _SMALLEST_CELL = 40, 7
_WANTED_EDGE = 720
# Rather than a larger square, smaller cells; narrower ones than this are shown without gaps.
_LARGEST_EDGE = 1000
_NARROWEST_WITH_GAP = 4
_TEXT, _MARGIN, _GAP_TO_TEXT = 14, 12, 10
_LONGEST_NAME = 150
# More names would not be read.
_MOST_NAMES = 40

_RIGHT, _WRONG = (28, 142, 131), (218, 92, 36)
# 4.6 to 1 on white and on black.
_INK = (118, 118, 118)
# Of an empty cell, so that the square is seen.
_FAINT = 24


def draw_confusion(counts: ClassCounts) -> Image.Image:
    """Draw true classes as rows, first guesses as columns; the stronger, the larger the share.

    Both in the order of the set's classes; of up to 40 with their names, of a thousand at a pixel a
    cell. There must be a confusion.
    """
    names = [one.name for one in counts.classes] if len(counts.classes) <= _MOST_NAMES else []
    cell = edge_of_cell(len(counts.classes))
    matrix = _cells(_matrix(counts), [one.num_samples for one in counts.classes], cell)
    labels = [shortened(printed(name), _TEXT, _LONGEST_NAME) for name in names]
    room = max((round(_font().getlength(label)) for label in labels), default=0)
    room += _GAP_TO_TEXT if labels else 0
    heading = 2 * _TEXT
    left, top = _MARGIN + heading + room, _MARGIN + heading + room
    edge = len(matrix)
    sheet = Image.new("RGBA", (left + edge + _MARGIN, top + edge + _MARGIN), (*_INK, 0))
    sheet.paste(Image.fromarray(matrix), (left, top))
    for number, label in enumerate(labels):
        middle = round((number + 0.5) * cell)
        _write(sheet, label, (left - _GAP_TO_TEXT, top + middle), "rm")
        _write(sheet, label, (left + middle, top - _GAP_TO_TEXT), "lm", upright=True)
    _write(sheet, "first guess", (left + edge // 2, _MARGIN + _TEXT // 2), "mm")
    _write(sheet, "true class", (_MARGIN + _TEXT // 2, top + edge // 2), "mm", upright=True)
    return sheet


def edge_of_cell(num_classes: int) -> int:
    """Return how many pixels wide and high a cell is."""
    wanted = min(_LARGEST_CELL, _WANTED_EDGE // num_classes)
    return max(wanted, min(_SMALLEST_CELL, _LARGEST_EDGE // num_classes), 1)


def has_confusion(counts: ClassCounts) -> bool:
    """Say whether there is one to draw."""
    return counts.confusion is not None or counts.pairs is not None


def _matrix(counts: ClassCounts) -> Int64s:
    """Return samples by true class and first guess, (n, n)."""
    if counts.confusion is not None:
        return np.array(counts.confusion, dtype=np.int64)
    assert counts.pairs is not None, "asked before"
    matrix = np.zeros((len(counts.classes), len(counts.classes)), dtype=np.int64)
    labels, guesses, numbers = np.array(counts.pairs, dtype=np.int64).reshape(-1, 3).T
    matrix[labels, guesses] = numbers
    return matrix


def _cells(confusion: Int64s, num_samples: list[int], cell: int) -> Pixels:
    """Return uint8 (n * cell, n * cell, 4), a pixel free between cells that are wide enough."""
    edge = len(confusion)
    shares = confusion / np.maximum(1, np.array(num_samples))[:, None]
    colours = np.empty((edge, edge, 4), dtype=np.uint8)
    hues = np.where(np.eye(edge, dtype=np.bool_)[..., None], _RIGHT, _WRONG)
    colours[..., :3] = np.where(confusion[..., None] > 0, hues, _INK)
    # By the root, so that what is seldom confused is seen too.
    colours[..., 3] = np.rint(_FAINT + (255 - _FAINT) * np.sqrt(shares))
    drawn = colours.repeat(cell, axis=0).repeat(cell, axis=1)
    if cell >= _NARROWEST_WITH_GAP:
        drawn[cell - 1 :: cell, :, 3] = 0
        drawn[:, cell - 1 :: cell, 3] = 0
    return drawn


def _write(
    sheet: Image.Image, text: str, place: tuple[int, int], anchor: str, *, upright: bool = False
) -> None:
    """Write a text with its anchor at a place; upright: from below to above."""
    if not upright:
        ImageDraw.Draw(sheet).text(place, text, font=_font(), fill=(*_INK, 255), anchor=anchor)
        return
    width, height = round(_font().getlength(text)) + 2, 2 * _TEXT
    strip = Image.new("RGBA", (width, height), (*_INK, 0))
    ImageDraw.Draw(strip).text((1, height // 2), text, font=_font(), fill=(*_INK, 255), anchor="lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    above = place[1] - width // 2 if anchor == "mm" else place[1] - width
    sheet.alpha_composite(turned, (place[0] - height // 2, above))


@cache
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(_TEXT)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font
