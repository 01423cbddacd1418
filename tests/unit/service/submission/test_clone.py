from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.submission.clone import merge_patch

NAMES = st.sampled_from("abc")
DOCUMENTS = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
).filter(lambda value: isinstance(value, dict))
PATCHES = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


def rfc7396(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7396, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    target = dict(target)
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = rfc7396(target.get(name), value)
    return target


@given(base=DOCUMENTS, patch=PATCHES)
def test_changes_are_a_merge_patch(base: Any, patch: Any) -> None:
    assert merge_patch(base, patch) == rfc7396(base, patch)


def test_a_union_of_another_kind_is_replaced_whole() -> None:
    base = {"schedule": {"kind": "plateau", "patience_epochs": 5}}
    patch = {"schedule": {"kind": "steps", "factor": 0.5}}
    assert merge_patch(base, patch) == patch
    kept = merge_patch(base, {"schedule": {"factor": 0.5}})
    assert kept["schedule"] == {"kind": "plateau", "patience_epochs": 5, "factor": 0.5}
