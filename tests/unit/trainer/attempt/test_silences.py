from hypothesis import given
from hypothesis import strategies as st

from trainer.attempt.pulse import Pulse
from trainer.attempt.silences import Silence, Silences


def test_without_others_nobody_is_silent() -> None:
    silences = Silences(1)
    silences.go_by(1000.0)
    assert silences.longest() is None


def test_one_that_never_told_anything_is_silent_from_the_beginning() -> None:
    silences = Silences(3)
    silences.go_by(2.0)
    silences.hear({1: Pulse(beat=1)})
    silences.go_by(3.0)
    assert silences.longest() == Silence(2, 5.0)


def test_the_same_again_is_silence_and_a_beat_without_a_move_is_none() -> None:
    silences = Silences(3)
    for beat in range(1, 10):
        silences.hear({1: Pulse(beat=1, moves=7), 2: Pulse(beat=beat)})
        silences.go_by(5.0)
    assert silences.longest() == Silence(1, 45.0)


def test_one_that_is_done_may_be_silent() -> None:
    silences = Silences(3)
    silences.hear({1: Pulse(beat=1), 2: Pulse(beat=9, is_done=True)})
    silences.go_by(1000.0)
    assert silences.longest() == Silence(1, 1000.0)
    silences.hear({1: Pulse(beat=2, is_done=True)})
    assert silences.longest() is None


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 10)), max_size=30))
def test_a_silence_is_the_time_since_that_replica_was_heard(
    heard: list[tuple[int, float]],
) -> None:
    silences, now_s, last_s = Silences(4), 0.0, {1: 0.0, 2: 0.0, 3: 0.0}
    for beat, (rank, elapsed_s) in enumerate(heard, start=1):
        silences.hear({rank: Pulse(beat=beat)})
        last_s[rank] = now_s
        silences.go_by(elapsed_s)
        now_s += elapsed_s
    longest = silences.longest()
    assert longest is not None
    assert abs(longest.seconds - (now_s - min(last_s.values()))) < 1e-6
