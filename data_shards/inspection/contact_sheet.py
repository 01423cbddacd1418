"""A contact sheet: a grid of images with captions, drawn with the font that comes with Pillow."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from data_shards.arrays import Pixels

# Pixels; chosen by eye.
_EDGE = 160
_GAP = 16
_MARGIN = 28
_MIN_WIDTH = 560
_TITLE, _TEXT, _SMALL = 26, 15, 12
_LEADING = 1.35
_MAX_CAPTION_LINES, _MAX_REASON_LINES = 2, 6

_PAPER, _INK, _GREY = "#ffffff", "#1a1a1a", "#6b6b6b"
_PLACEHOLDER, _ALARM = "#f7ecea", "#a3271c"

# What Pillow's font has beyond ASCII, and we use.
_GLYPHS = "…·"
_LIKENESSES = str.maketrans("×–—‘’“”", "x--''\"\"")


@dataclass(frozen=True)
class Tile:
    """One place of the grid."""

    image: Pixels | None
    """uint8 (n, n, 3), RGB; None: it could not be read."""
    caption: str
    note: str
    """Set smaller, below the caption."""
    problem: str = ""
    """Why there is no image."""


def draw_sheet(title: str, facts: Sequence[str], rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """Return the sheet: title, facts in as many lines as they need, then the rows of tiles.

    Captions have two lines if any needs them; what is wider than its place ends in an ellipsis.
    """
    columns = max((len(row) for row in rows), default=0)
    width = max(columns * (_EDGE + _GAP) - _GAP, _MIN_WIDTH)
    lines = _lines([printed(fact) for fact in facts], " · ", _TEXT, width)
    captions = [
        [_words(tile.caption, _TEXT, _EDGE, _MAX_CAPTION_LINES) for tile in row] for row in rows
    ]
    caption_lines = max((len(caption) for row in captions for caption in row), default=1)
    header = _height(_TITLE) + len(lines) * _height(_TEXT) + _GAP
    tile_height = _EDGE + 6 + caption_lines * _height(_TEXT) + _height(_SMALL)
    height = header + len(rows) * (tile_height + _GAP) - _GAP
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _write(draw, (_MARGIN, _MARGIN), [shortened(printed(title), _TITLE, width)], _TITLE, _INK)
    _write(draw, (_MARGIN, top), [shortened(line, _TEXT, width) for line in lines], _TEXT, _GREY)
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            left = _MARGIN + column * (_EDGE + _GAP)
            top = _MARGIN + header + row * (tile_height + _GAP)
            _draw_image(sheet, draw, tile, (left, top))
            below = _write(draw, (left, top + _EDGE + 6), captions[row][column], _TEXT, _INK)
            note = shortened(printed(tile.note), _SMALL, _EDGE)
            _write(draw, (left, below), [note], _SMALL, _GREY)
    return sheet


def shortened(text: str, size: int, width: int) -> str:
    """Return a text that is at most `width` pixels wide, its end an ellipsis if need be."""
    if _width(text, size) <= width:
        return text
    # The longest beginning that fits, halving what is left to try.
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _width(text[:middle].rstrip() + "…", size) <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…"


def printed(text: str) -> str:
    """Return a text in the characters that Pillow's font has, on one line.

    Accents go; what has no such likeness becomes a question mark.
    """
    known = "".join(map(_printed_character, text.translate(_LIKENESSES)))
    return " ".join(known.split())


def _printed_character(character: str) -> str:
    if character in _GLYPHS or (character.isascii() and character.isprintable()):
        return character
    if character.isspace():
        return " "
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if plain.isprintable() and plain:
        return plain
    return "" if unicodedata.combining(character) else "?"


def _draw_image(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, place: tuple[int, int]
) -> None:
    """Draw a tile's image, or a box with the reason why there is none in the middle of it."""
    if tile.image is not None:
        sheet.paste(_scaled(Image.fromarray(tile.image)), place)
        return
    left, top = place
    draw.rectangle(
        (left, top, left + _EDGE - 1, top + _EDGE - 1), fill=_PLACEHOLDER, outline=_ALARM
    )
    lines = _words(tile.problem, _SMALL, _EDGE - 16, _MAX_REASON_LINES)
    line_top = top + (_EDGE - len(lines) * _height(_SMALL)) // 2
    for line in lines:
        start = left + (_EDGE - round(_width(line, _SMALL))) // 2
        line_top = _write(draw, (start, line_top), [line], _SMALL, _ALARM)


def _scaled(image: Image.Image) -> Image.Image:
    """Scale to a tile; small images by way of whole factors, so that their pixels stay sharp."""
    factor = -(-_EDGE // image.width)
    larger = (image.width * factor, image.height * factor)
    sharp = image.resize(larger, Image.Resampling.NEAREST)
    return sharp.resize((_EDGE, _EDGE), Image.Resampling.LANCZOS)


def _lines(parts: Sequence[str], between: str, size: int, width: int) -> list[str]:
    """Fill lines of a width with parts; one that is too wide by itself has its own line."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and _width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _words(text: str, size: int, width: int, max_lines: int) -> list[str]:
    """Return a text as lines of whole words; the last takes what is left, shortened."""
    lines = _lines(printed(text).split(), " ", size, width)
    kept, rest = lines[: max_lines - 1], lines[max_lines - 1 :]
    return [shortened(line, size, width) for line in [*kept, *([" ".join(rest)] if rest else [])]]


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], size: int, colour: str
) -> int:
    """Write lines below one another; return where the next one would be."""
    left, top = place
    for line in lines:
        draw.text((left, top), line, font=_font(size), fill=colour)
        top += _height(size)
    return top


def _height(size: int) -> int:
    """Return the distance from line to line."""
    return round(size * _LEADING)


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font
