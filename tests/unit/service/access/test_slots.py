"""Slots, taken and given back in any order by several senders."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.slots import NoSlotError, Slots


@given(
    limit=st.integers(1, 5),
    per_sender=st.integers(1, 5),
    asks=st.lists(st.tuples(st.sampled_from(["ann", "bob", "vic"]), st.booleans())),
)
def test_a_slot_is_had_unless_all_are_taken_or_the_senders_own(
    limit: int, per_sender: int, asks: list[tuple[str, bool]]
) -> None:
    slots = Slots("streams", limit, per_sender=per_sender, mend="wait")
    held: list[tuple[str, ExitStack]] = []
    for sender, ends in asks:
        own = [one for one in held if one[0] == sender]
        if ends and own:
            own[0][1].close()
            held.remove(own[0])
        elif len(own) == per_sender or len(held) == limit:
            with pytest.raises(NoSlotError) as refused, slots.take(sender):
                pass
            assert refused.value.is_own == (len(own) == per_sender)
        else:
            taking = ExitStack()
            taking.enter_context(slots.take(sender))
            held.append((sender, taking))


def test_a_slot_is_given_back_whatever_happens_and_nothing_is_kept_of_its_sender() -> None:
    slots = Slots("streams", 1, per_sender=1, mend="wait")
    for sender in ("ann", "bob"):
        with pytest.raises(OSError, match="torn"), slots.take(sender):
            raise OSError("torn")
    assert not slots._num_open
