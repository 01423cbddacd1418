"""What shares services runs in a row, in one process; what takes longest begins first."""

from tests.faults.beside import group, place

FOLDER = "tests/faults"
OUTAGES = f"{FOLDER}/test_store_outages.py"
WHOLE_API = f"{FOLDER}/attacks/test_whole_api.py"
NAMES, BODIES = f"{FOLDER}/attacks/test_names.py", f"{FOLDER}/attacks/test_bodies.py"


def test_what_shares_services_is_of_one_group() -> None:
    assert group(f"{OUTAGES}::test_a[x]") == group(f"{OUTAGES}::test_b")
    assert group(f"{NAMES}::test_a") == group(f"{BODIES}::test_b[a/b::c]")
    assert group(f"{NAMES}::test_a") != group(f"{OUTAGES}::test_a[x]")
    assert group(f"{FOLDER}/test_kills.py::test_a") == group(
        f"{FOLDER}/test_out_of_memory.py::test_a"
    )


def test_what_shares_none_is_by_itself() -> None:
    assert group(f"{WHOLE_API}::test_a[sqlite]") != group(f"{WHOLE_API}::test_a[postgresql]")


def test_what_takes_longest_is_first() -> None:
    tests = [f"{NAMES}::test_a", f"{WHOLE_API}::test_a", f"{OUTAGES}::test_a"]
    assert sorted(tests, key=place) == tests[::-1]
