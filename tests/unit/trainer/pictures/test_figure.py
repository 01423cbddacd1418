from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.pictures.figure import Line, Panel, figure, ticks

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter(f"{SVG}text")]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@example(0.0, 5e-324)
def test_ticks_are_round_few_and_hold_the_range(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert found[0] <= low + abs(low) * 1e-9
    assert found[-1] >= (low + span) - abs(low + span) * 1e-9
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


def test_lines_lie_where_their_numbers_are() -> None:
    line = Line(name="Training", points=[(0, 0.0), (50, 1.0), (100, 0.5)], colour="#123456")
    drawn = ET.fromstring(figure("a run", [Panel(title="Loss", lines=[line])]))
    (path,) = [
        one
        for one in drawn.iter(f"{SVG}path")
        if one.get("stroke") == "#123456" and "L" in one.get("d", "")
    ]
    places = [tuple(map(float, place.split())) for place in path.get("d", "")[1:].split("L")]
    (left, bottom), (middle, top), (right, between) = places
    assert middle == pytest.approx((left + right) / 2)
    assert between == pytest.approx((top + bottom) / 2)
    assert top < bottom
    width, height = map(float, drawn.get("viewBox", "").split()[2:])
    assert 0 < left < right < width
    assert 0 < top < bottom < height


def test_a_share_is_written_in_per_cent_from_zero_and_one_point_has_a_dot() -> None:
    line = Line(name="Top-1", points=[(7, 0.4)], colour="red", is_marked=True)
    svg = figure("a run", [Panel(title="Error", lines=[line], is_share=True)])
    assert {"0 %", "40 %", "Top-1", "Error", "Step"} <= set(texts(svg))
    assert len(list(ET.fromstring(svg).iter(f"{SVG}circle"))) == 1


def test_what_others_wrote_is_text() -> None:
    attack = '</text><script>alert(1)</script>&"'
    line = Line(name=attack, points=[(1, 1.0), (2, 1.0)], colour="red")
    svg = figure(attack, [Panel(title="Loss", lines=[line])])
    assert texts(svg).count(attack) == 2
    assert b"<script" not in svg


def test_a_long_legend_goes_on_in_the_next_row() -> None:
    def height(num_lines: int) -> float:
        lines = [
            Line(name="a published network, ten views", points=[(1, 1.0)], colour="red")
            for _ in range(num_lines)
        ]
        svg = figure("a run", [Panel(title="Loss", lines=lines)])
        return float(ET.fromstring(svg).get("height", ""))

    assert height(2) < height(8)
