import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from data_shards.inspection.contact_sheet import Tile, draw_sheet, printed, shortened

# Names as bad as they come.
NAMES = [
    "cat",
    "W" * 400,
    "",
    "a\nb\tc\x00d",
    "Ångström",
    "中文" * 90,
    "great grey owl, Strix nebulosa",
]


def coloured(colour: tuple[int, int, int], edge: int = 8) -> Tile:
    return Tile(np.full((edge, edge, 3), colour, dtype=np.uint8), "caption", "note")


def pixels_of(sheet: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) row and column of each pixel of a colour."""
    return np.argwhere((np.asarray(sheet) == colour).all(axis=-1))


@given(text=st.text(max_size=200), width=st.integers(30, 400))
def test_a_text_fits_and_is_shortened_no_more_than_needed(text, width):
    text = printed(text)
    font = ImageFont.load_default(15)
    shown = shortened(text, 15, width)
    assert font.getlength(shown) <= width
    if shown != text:
        assert font.getlength(text) > width
        kept = shown.removesuffix("…")
        assert text.startswith(kept)
        longer = text[: len(kept) + 1]
        # Trailing spaces do not count, so that none stands before the ellipsis.
        assert longer.endswith(" ") or font.getlength(longer + "…") > width


@given(text=st.text(max_size=60))
def test_only_characters_that_the_font_has_are_printed(text):
    shown = printed(text)
    assert set(shown) <= {chr(code) for code in range(32, 127)} | set("…·")
    assert printed(shown) == shown


def test_what_the_font_lacks_is_written_as_near_as_can_be():
    assert printed("Ångström\n  12×12 · é…") == "Angstrom 12x12 · e…"
    assert printed("中") == "?"


@pytest.mark.parametrize("edge", [1, 7, 28, 32, 160, 256, 300])
def test_a_tile_of_any_size_fills_its_place(edge):
    sheet = draw_sheet("title", ["fact"], [[coloured((255, 0, 0), edge)]])
    red = pixels_of(sheet, (255, 0, 0))
    assert (red.max(axis=0) - red.min(axis=0) + 1).tolist() == [160, 160]
    assert len(red) == 160 * 160


@pytest.mark.parametrize("columns", [1, 3, 9])
def test_nothing_is_cut_off_or_overlaps(columns):
    # Captions as long as can be: the margins stay white, and so do the gaps between columns.
    rows = [
        [Tile(np.zeros((8, 8, 3), np.uint8), name, f"label {name}") for name in NAMES[:columns]]
        for _ in range(2)
    ]
    rows[1][0] = Tile(None, NAMES[1], NAMES[1], problem="unreadable " * 80)
    sheet = np.asarray(draw_sheet("title " * 200, ["fact " * 9] * 40, rows))
    white = (sheet == 255).all(axis=-1)
    assert white[:, :24].all()
    assert white[:, -24:].all()
    assert white[:24].all()
    assert white[-20:].all()
    below = sheet[-2 * (160 + 60) :]
    for column in range(1, min(columns, len(NAMES))):
        gap = below[:, 28 + column * 176 - 15 : 28 + column * 176 - 1]
        assert (gap == 255).all()


def test_tiles_stand_in_rows_and_columns():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    first, second, third, fourth = map(coloured, colours)
    sheet = draw_sheet("title", [], [[first, second], [third, fourth]])
    corners = [pixels_of(sheet, colour).min(axis=0).tolist() for colour in colours]
    (top, left), (_, right), (bottom, _), _ = corners
    assert corners == [[top, left], [top, right], [bottom, left], [bottom, right]]
    assert right - left > 160
    assert bottom - top > 160


def test_captions_have_two_lines_if_any_needs_them():
    short, long = (
        draw_sheet("title", [], [[coloured((255, 0, 0)), Tile(None, name, "note")]] * 2)
        for name in ("cat", "great grey owl, " * 40)
    )
    (first, _), (second, _) = (pixels_of(sheet, (255, 0, 0)).min(axis=0) for sheet in (short, long))
    assert first == second
    # One line more under each of two rows.
    assert long.height - short.height == 2 * round(15 * 1.35)


def test_an_image_that_cannot_be_read_is_a_placeholder_with_its_reason():
    whole = draw_sheet("title", [], [[Tile(None, "cat", "label 0", problem="")]])
    told = draw_sheet("title", [], [[Tile(None, "cat", "label 0", problem="truncated file")]])
    alarm = (0xA3, 0x27, 0x1C)
    # The frame in both, the words in one.
    assert 0 < len(pixels_of(whole, alarm)) < len(pixels_of(told, alarm))
