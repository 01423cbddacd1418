from trainer.contract.attempt import CLASSES, RETRYABLE, Reason, ReasonClass


def test_every_reason_is_somebodys() -> None:
    assert CLASSES.keys() == set(Reason)


def test_what_would_come_to_the_same_again_is_not_tried_again() -> None:
    assert set(Reason) - RETRYABLE == {
        *(Reason.BAD_SPEC, Reason.BAD_DATA, Reason.NONFINITE_LOSS, Reason.DEADLINE),
    }
    assert {CLASSES[one] for one in RETRYABLE} == {ReasonClass.MACHINE, ReasonClass.SERVICE}
