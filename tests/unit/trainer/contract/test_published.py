from typing import Any

import pytest

from trainer.contract.published import COMPARED_SET, RESULTS, ablations_of, compared
from trainer.contract.spec import JobSpec

# Table 2 of the paper: top-1 and top-5 on the validation set, top-5 on the test set, per cent.
TABLE_2 = """
| 1 CNN   | 40.7 | 18.2 | –    |
| 5 CNNs  | 38.1 | 16.4 | 16.4 |
| 1 CNN*  | 39.0 | 16.6 | –    |
| 7 CNNs* | 36.7 | 15.4 | 15.3 |
"""


def _errors(measured_on: str, protocol: str) -> list[tuple[str, float | None, float | None]]:
    return [
        (row.network, row.top1_error, row.top5_error)
        for row in RESULTS
        if (row.measured_on, row.protocol) == (measured_on, protocol)
    ]


def _share(per_cent: str) -> float:
    return round(float(per_cent) / 100, 3)


def test_table_2_is_the_papers() -> None:
    validation, test = [], []
    for line in TABLE_2.strip().splitlines():
        network, top1, top5, top5_test = (cell.strip() for cell in line.strip("|").split("|"))
        validation.append((network, _share(top1), _share(top5)))
        if top5_test != "–":
            test.append((network, None, _share(top5_test)))
    of_paper = [row for row in compared() if row.source == "the paper, Table 2"]
    assert [(row.network, row.top1_error, row.top5_error) for row in of_paper] == validation
    assert [row.num_networks for row in of_paper] == [1, 5, 1, 7]
    assert {row.protocol for row in of_paper} == {"ten_view"}
    assert _errors("ILSVRC-2012 test", "ten_view") == test


def test_the_other_results_are_the_papers() -> None:
    assert _errors("ILSVRC-2010 test", "ten_view") == [("CNN", 0.375, 0.17)]
    assert _errors("ILSVRC-2010 test", "centre_crop") == [("CNN", 0.39, 0.183)]
    assert _errors("ImageNet Fall 2009 test", "ten_view") == [("CNN*", 0.674, 0.409)]


def test_reproductions_are_what_their_authors_say() -> None:
    centre = {network: errors for network, *errors in _errors(COMPARED_SET, "centre_crop")}
    # Accuracies of 57.1 and 80.2, of 56.5 and 79.1 per cent.
    assert centre["Caffe's AlexNet"] == [pytest.approx(1 - 0.571), pytest.approx(1 - 0.802)]
    assert centre["torchvision's alexnet"] == [pytest.approx(1 - 0.565), pytest.approx(1 - 0.791)]
    assert centre["cuda-convnet2, 1 GPU"] == [0.426, 0.198]
    assert ("cuda-convnet2, 1 GPU", 0.404, 0.182) in _errors(COMPARED_SET, "ten_view")


def test_only_results_on_the_same_set_are_compared() -> None:
    assert {row.measured_on for row in compared()} == {"ILSVRC-2012 validation"}
    assert 0 < len(compared()) < len(RESULTS)


@pytest.mark.parametrize(
    ("changes", "top1", "top5"),
    [
        ({"model": {"towers": 1}, "scale": {"devices_per_replica": 1}}, 1.7, 1.2),
        ({"model": {"lrn": False}}, 1.4, 1.2),
        ({"model": {"overlapping_pool": False}}, 0.4, 0.3),
        ({"augment": {"colour_strength": 0}}, 1.0, None),
        ({"model": {"removed_layer": "conv4"}}, 2.0, None),
        ({"model": {"column_communication": False}}, 41.83 - 40.66, 19.33 - 18.21),
    ],
)
def test_an_ablation_has_its_published_difference(
    changes: dict[str, Any], top1: float, top5: float | None
) -> None:
    (published,) = ablations_of(_spec(**changes))
    assert published.top1_difference * 100 == pytest.approx(top1)
    if top5 is None:
        assert published.top5_difference is None
        assert published.precision != "measured"
    else:
        assert published.top5_difference is not None
        assert published.top5_difference * 100 == pytest.approx(top5)
        assert published.precision == "measured"


def test_the_papers_own_network_has_no_ablation_and_two_changes_have_two() -> None:
    assert ablations_of(_spec()) == ()
    assert len(ablations_of(_spec(model={"lrn": False, "overlapping_pool": False}))) == 2


def _spec(**changes: Any) -> JobSpec:
    data = {"train": "nowhere", "validation": "nowhere"}
    return JobSpec.model_validate({"name": "x", "data": data, **changes})
