import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import pytest

from data_shards.errors import PackError
from data_shards.manifest import ClassEntry
from data_shards.packing.request import PackRequest
from data_shards.sources.source import Reference, Source

OTHERWISE = {
    "split": "validation",
    "size": 33,
    "encoding": "raw",
    "quality": 91,
    "samples_per_shard": 11,
    "limit": 5,
    "seed": 2,
    "squared": False,
}


@pytest.mark.parametrize("split", ["", "Train", "../up", "-x", "a" * 41])
def test_a_split_needs_a_plain_name(request_for, split):
    with pytest.raises(PackError, match="no name for a split"):
        request_for(split=split)


def test_bare_pixels_of_any_shape_are_refused(request_for):
    with pytest.raises(PackError, match=r"whose shape nothing would tell.*leave out --no-resize"):
        request_for(encoding="raw", squared=False)


def test_whatever_is_asked_for_otherwise_is_another_request(request_for):
    request = request_for()
    assert {*OTHERWISE, "source"} == {field.name for field in fields(PackRequest)}
    source = request.source
    sources = [
        replace(source, kind="another"),
        replace(source, sha256="1" * 64),
        replace(source, classes=(ClassEntry(name="asp"), *source.classes[1:])),
    ]
    changed = [request_for(**{name: value}) for name, value in OTHERWISE.items()]
    changed += [request_for(source=each) for each in sources]
    assert len({request.sha256, *(each.sha256 for each in changed)}) == 1 + len(changed)
    assert request_for().sha256 == request.sha256


def test_raw_pixels_are_the_same_whatever_the_quality_of_jpeg(request_for):
    raw = request_for(encoding="raw")
    assert request_for(encoding="raw", quality=7).sha256 == raw.sha256


@dataclass
class Lazy(Sequence[tuple[Reference, int]]):
    """A million samples, none of which is held."""

    asked: int = 0

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, place):
        assert isinstance(place, int)
        self.asked += 1
        return f"{place}.jpg", place % 10


def test_tasks_are_made_when_they_are_wanted(request_for):
    samples = Lazy()
    source = Source("lazy", (ClassEntry(name="a"),), samples, "0" * 64, request_for().source.reader)
    request = request_for(source=source, samples_per_shard=1000)
    tasks = request.tasks()
    assert samples.asked == 0
    first = next(tasks)
    assert samples.asked == len(first.samples) == 1000
    assert (first.name, first.first_key) == ("train-000000.tar", 0)
    second = next(tasks)
    assert (second.name, second.first_key) == ("train-000001.tar", 1000)
    assert not {path for path, _ in first.samples} & {path for path, _ in second.samples}


def test_tasks_hold_every_sample_once_and_the_limit_takes_the_first(request_for):
    every = [sample for task in request_for().tasks() for sample in task.samples]
    assert sorted(every) == sorted(request_for().source.samples)
    assert every != sorted(every)
    limited = [sample for task in request_for(limit=13).tasks() for sample in task.samples]
    assert limited == every[:13]
    lengths = [len(task.samples) for task in request_for().tasks()]
    assert lengths == [10, 10, 10, 7]
    keys = [task.first_key for task in request_for().tasks()]
    assert keys == list(itertools.accumulate([0, 10, 10, 10]))
