"""What is said of a set of shards."""

from data_shards.manifest import Manifest
from service.store.store import Store
from service.ui.data_facts import (
    InspectedClass,
    balance_chart,
    cards_of,
    mean_swatch,
    named_sets,
    pca_swatches,
)
from tests.unit.service.conftest import job_in, make_spec, manifest_document
from trainer.contract.status import Status


def test_the_sets_that_jobs_name_are_told_once_with_their_uses(store: Store) -> None:
    first = job_in(store, Status.QUEUED, "a", spec=make_spec())
    other = make_spec(data={"train": "/d/other.json", "validation": "/d/t.json"})
    second = job_in(store, Status.QUEUED, "b", spec=other)
    assert [(one.location, one.uses) for one in named_sets([second, first])] == [
        ("/d/other.json", "training data of 1 job"),
        ("/d/t.json", "validation data of 1 job, training data of 1 job"),
        ("/d/v.json", "validation data of 1 job"),
    ]


def test_the_manifest_is_told_in_cards() -> None:
    manifest = Manifest.model_validate(manifest_document())
    told = {fact.name: fact.value for card in cards_of(manifest) for fact in card.facts}
    assert (told["Samples"], told["Classes"], told["Images"]) == ("20", "10", "72 × 72 pixels")
    assert (told["Stored"], told["Bytes"], told["Source"]) == (
        "jpeg of quality 92",
        "100 B",
        "folder",
    )
    assert told["Content SHA-256"] == manifest.content_sha256()


def test_colours_are_swatches_with_their_numbers() -> None:
    assert mean_swatch(None) is None
    mean = mean_swatch((127.6, 3.2, 300.0))
    assert mean is not None
    assert (mean.css, mean.value) == ("rgb(128 3 255)", "127.6, 3.2, 300.0")
    manifest = Manifest.model_validate(manifest_document())
    first, *_ = pca_swatches(manifest.rgb_pca)
    assert (first.css, first.value) == (
        "rgb(238 128 128)",
        "variance 3.0; R, G, B +1.000, +0.000, +0.000",
    )


def test_classes_are_charted_the_largest_first() -> None:
    classes = [
        InspectedClass(name=f"<b>class {number}</b>", num_samples=number) for number in range(3)
    ]
    chart = balance_chart(classes)
    assert chart is not None
    assert chart.data[0]["y"] == [2, 1, 0]
    assert chart.note == "0 to 2 samples in each; 1 without any"
    assert chart.rows[0] == ("<b>class 2</b>", "2", "–", "2")
    assert "<b>" not in str(chart.figure)
    assert balance_chart([InspectedClass(name="unknown")]) is None


def test_a_thousand_classes_are_a_strip_without_names_below_it() -> None:
    classes = [InspectedClass(name=str(number), num_samples=7) for number in range(1000)]
    chart = balance_chart(classes)
    assert chart is not None
    assert chart.layout["xaxis"]["showticklabels"] is False
    assert chart.layout["bargap"] == 0
    assert (len(chart.rows), chart.note) == (1000, "7 samples in each")
