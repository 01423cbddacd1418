"""What was drawn of a job."""

from service.ui.job.pictures import pictures
from trainer.contract.pictures import (
    ClassCount,
    ClassCounts,
    ConfusedPair,
    Guess,
    KernelPicture,
    ShownImage,
    StepPictures,
)


def drawn(step: int, *, name: str = "boot") -> StepPictures:
    towers = tuple(
        KernelPicture(
            path=f"attempts/0001/pictures/step-{step:08d}/tower {number}.png",
            num_kernels=48,
            columns=8,
            rows=6,
            width=100,
            height=75,
        )
        for number in range(2)
    )
    guesses = (
        Guess(label=3, name="shoe", probability=0.7),
        Guess(label=9, name=name, probability=0.2),
    )
    image = ShownImage(path="images/1.png", sample=1, label=9, name=name, guesses=guesses)
    return StepPictures(
        attempt=1, step=step, epoch=step / 10, towers=towers, images=(image,), confusion="c.png"
    )


def counts(*right: int) -> ClassCounts:
    return ClassCounts(
        step=20,
        protocol="centre_crop",
        classes=tuple(
            ClassCount(
                label=label, name=f"class {label}", num_samples=10, right=one, within_five=10
            )
            for label, one in enumerate(right)
        ),
        confusion=None,
        worst_pairs=(ConfusedPair(label=0, name="a", guess=1, guess_name="b", count=1200),),
    )


def test_the_newest_step_is_shown_with_both_towers() -> None:
    told = pictures("j", [drawn(10), drawn(20)], None, None)
    assert told is not None
    assert (told.chosen, told.shown.label) == (1, "step 20, epoch 2.00")
    assert [tower.url for tower in told.shown.towers] == [
        f"/jobs/j/artifacts/attempts/0001/pictures/step-00000020/tower%20{number}.png"
        for number in range(2)
    ]
    assert [one.step for one in told.steps] == [10, 20]


def test_a_step_that_was_asked_for_is_shown() -> None:
    told = pictures("j", [drawn(10, name="early"), drawn(20)], None, 10)
    assert told is not None
    assert (told.shown.step, told.images[0].name) == (10, "early")


def test_guesses_tell_which_is_right() -> None:
    told = pictures("j", [drawn(10)], None, None)
    assert told is not None
    bars = told.images[0].bars
    assert [(bar.name, bar.probability, bar.is_right) for bar in bars] == [
        ("shoe", 0.7, False),
        ("boot", 0.2, True),
    ]


def test_of_few_classes_none_is_among_best_and_worst() -> None:
    told = pictures("j", [drawn(20)], (drawn(20), counts(9, 1, 5)), None)
    assert told is not None
    assert told.classes is not None
    assert [(row.name, row.right, row.told) for row in told.classes.best] == [
        ("class 0", 0.9, "9 of 10")
    ]
    assert [row.name for row in told.classes.worst] == ["class 1"]
    assert told.classes.pairs == (("a", "b", "1,200"),)
    assert told.classes.confusion == "/jobs/j/artifacts/c.png"


def test_before_the_first_picture_there_is_nothing() -> None:
    assert pictures("j", [], None, None) is None


def test_steps_whose_checkpoint_was_gone_are_not_slid_through() -> None:
    alone = drawn(30).model_copy(update={"towers": (), "images": ()})
    view = pictures("job", [drawn(10), drawn(20), alone], (alone, counts(9, 1)), None)
    assert view is not None
    assert ([one.step for one in view.steps], view.shown.step) == ([10, 20], 20)
    assert view.classes is not None
    # Of an evaluation of other jobs' checkpoints there is nothing else.
    view = pictures("job", [alone], (alone, counts(9, 1)), None)
    assert view is not None
    assert view.shown.step == 30
