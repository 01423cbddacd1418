import io

from rich.console import Console

from trainer.contract.events import Evaluated, Progress, SamplesSkipped, Started
from trainer.running.console import ProgressLine


def test_shows_steps_figures_evaluations_and_skipped_samples() -> None:
    output = io.StringIO()
    with ProgressLine(
        Console(file=output, width=100, force_terminal=True, highlight=False)
    ) as line:
        line.show(
            Started(
                start_step=5,
                planned_steps=40,
                steps_per_epoch=10,
                worker_pids=(1,),
                devices=("cpu",),
                inexact=("replicas was 2 and is 1",),
            )
        )
        line.show(
            Progress(
                step=7,
                epoch=0.7,
                planned_steps=40,
                loss=2.25,
                learning_rate=0.01,
                images_per_second=123.4,
                data_wait_ratio=0.0,
            )
        )
        line.show(Evaluated(step=10, epoch=1.0, num_samples=50, loss=1.5, top1=0.5, top5=0.875))
        line.show(SamplesSkipped(step=8, samples=("a.tar:[/k]",), reason="not a JPEG", total=1))
    text = output.getvalue()
    assert "not bit-exact: replicas was 2 and is 1" in text
    assert "epoch 1.00: top-1 0.5000, top-5 0.8750, loss 1.5000 on 50 images, centre crop" in text
    assert "step 8: skipped a.tar:[/k]: not a JPEG" in text
    assert "step 7/40" in text
    assert "epoch 0.70  loss 2.2500  123 images/s" in text


def test_progress_before_the_start_is_no_error() -> None:
    with ProgressLine(Console(file=io.StringIO())) as line:
        line.show(
            Progress(
                step=1,
                epoch=0.1,
                planned_steps=4,
                loss=1.0,
                learning_rate=0.01,
                images_per_second=1.0,
                data_wait_ratio=0.0,
            )
        )
