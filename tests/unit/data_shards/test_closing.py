"""What closes itself at the end of a with block."""

import pytest

from data_shards.closing import Closing


class Counted(Closing):
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_what_closes_itself_does_so_once_and_hides_no_error() -> None:
    with Counted() as owner:
        assert owner.closed == 0
    assert owner.closed == 1
    with pytest.raises(ValueError, match="of the block"), owner:
        raise ValueError("of the block")
    assert owner.closed == 2
