from pathlib import Path

import pytest

from service.reconciling.leadership import Leadership


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_store_has_one_leader_by_whichever_name_it_is_reached(
    tmp_path: Path, linked: str
) -> None:
    store = tmp_path / "true" / "store.db"
    store.parent.mkdir()
    # There is no file yet when the first control plane leads.
    if linked == "file":
        other = tmp_path / "other.db"
        other.symlink_to(store)
    else:
        (tmp_path / "other").symlink_to(store.parent)
        other = tmp_path / "other" / "store.db"
    first, second = Leadership(store, url="http://first"), Leadership(other, url="http://second")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == first.holder()
    first.release()
    assert second.acquire()
    second.release()
