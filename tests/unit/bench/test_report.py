"""What measurements come to."""

from tests.bench.data.contender import Results
from tests.bench.data.report import Ratio, figure_of, to_json
from tests.bench.figures import Figure

RATIO = Ratio("a_to_b", "a", "b", target=1.5)


def test_the_best_rounds_make_the_ratio():
    results = {"a": Results(rates=[20.0, 30.0]), "b": Results(rates=[10.0, 5.0])}
    figure = figure_of(RATIO, results)
    assert (figure.value, figure.is_met) == (3.0, True)


def test_what_is_absent_has_no_ratio_and_misses_no_target():
    results = {"a": Results(rates=[20.0]), "b": Results(absent="needs a library")}
    figure = figure_of(RATIO, results)
    assert (figure.value, figure.is_met) == (None, None)
    told = to_json(results, [figure, Figure("seconds", 2.0, 1.5, at_most=True)], {})
    assert told["a_to_b"] is None
    assert told["targets_missed"] == ["seconds"]
    assert told["absent"] == {"b": "needs a library"}
    assert told["images_per_second"] == {"a": 20, "b": None}
