from service.reconciling.pulse import STUCK_AFTER_S, Pulse


def test_it_is_stuck_when_it_has_been_at_one_thing_for_too_long() -> None:
    now_s = 1000.0
    pulse = Pulse(lambda: now_s)
    assert (pulse.age_s(), pulse.trouble()) == (0.0, None)
    pulse.beat("job a")
    now_s += STUCK_AFTER_S - 1
    assert (pulse.age_s(), pulse.trouble()) == (STUCK_AFTER_S - 1, None)
    # A tick of many jobs may take long.
    pulse.beat("job b")
    now_s += STUCK_AFTER_S
    told = pulse.trouble()
    assert told is not None
    assert "at job b for 300 s" in told
    pulse.rest()
    now_s += STUCK_AFTER_S
    assert (pulse.age_s(), pulse.trouble()) == (0.0, None)
