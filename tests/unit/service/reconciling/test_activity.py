from service.reconciling.activity import STUCK_AFTER_S, Activity


def test_it_is_stuck_when_it_has_been_at_one_thing_for_too_long() -> None:
    now_s = 1000.0
    activity = Activity(lambda: now_s)
    assert (activity.age_s(), activity.trouble()) == (0.0, None)
    activity.begin("job a")
    now_s += STUCK_AFTER_S - 1
    assert (activity.age_s(), activity.trouble()) == (STUCK_AFTER_S - 1, None)
    # A tick of many jobs may take long.
    activity.begin("job b")
    now_s += STUCK_AFTER_S
    told = activity.trouble()
    assert told is not None
    assert "at job b for 300 s" in told
    activity.rest()
    now_s += STUCK_AFTER_S
    assert (activity.age_s(), activity.trouble()) == (0.0, None)
