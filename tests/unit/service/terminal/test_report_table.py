import pytest

from service.terminal.report_table import report_table
from tests.unit.service.terminal.test_tables import shown
from tests.unit.trainer.contract.reports import (
    FACTS,
    calibration_report,
    evaluation_report,
    training_report,
)
from trainer.contract.report import Report, notes_on


def test_a_training_report_fits_into_80_columns() -> None:
    assert (
        shown(report_table(training_report()))
        == """\
the *paper* (0123456789ab)
Top-1 error 40.70 %, top-5 error 18.20 % (accuracy 59.30 % and 81.80 %): ten
views, 50,000 images.

NETWORK                PROTOCOL     TOP-1 ERROR  TOP-5 ERROR  SOURCE
1 CNN                  ten views    40.7 (59.3)  18.2 (81.8)  this job
1 CNN                  centre crop  42.5 (57.5)  20.0 (80.0)  this job
1 CNN                  ten views    40.7 (59.3)  18.2 (81.8)  the paper, Table 2
5 CNNs                 ten views    38.1 (61.9)  16.4 (83.6)  the paper, Table 2
1 CNN*                 ten views    39.0 (61.0)  16.6 (83.4)  the paper, Table 2
7 CNNs*                ten views    36.7 (63.3)  15.4 (84.6)  the paper, Table 2
Caffe's AlexNet        centre crop  42.9 (57.1)  19.8 (80.2)  Caffe's model zoo
cuda-convnet2, 1 GPU   centre crop  42.6 (57.4)  19.8 (80.2)  cuda-convnet2
cuda-convnet2, 1 GPU   ten views    40.4 (59.6)  18.2 (81.8)  cuda-convnet2
torchvision's alexnet  centre crop  43.5 (56.5)  20.9 (79.1)  torchvision
per cent, in brackets the accuracy; published of ILSVRC-2012 validation

steps                  900,000 (90.00 epochs)
samples presented      115,305,030
attempts               2
accuracy, centre crop  top-1 57.50 %, top-5 80.00 %
accuracy, ten views    top-1 59.30 %, top-5 81.80 %
best epoch             88.00: top-1 57.60 %, centre crop
samples skipped        90 (unreadable)
steps trained again    7

PUBLISHED OF THIS CHANGE  TOP-1 ERROR  TOP-5 ERROR  SOURCE
no LRN                    +1.4         +1.2         the paper, section 3.3

classes            1,000: tench, gold|fish, <shark>, ray, cock, ...
training images    1,281,167
validation images  50,000 (source: folder)
stored size        256 pixels"""
    )


def test_an_ensemble_is_shown_with_its_networks() -> None:
    assert (
        shown(report_table(evaluation_report(2)))
        == """\
seven (0123456789ab)
Top-1 error 36.70 %, top-5 error 15.40 % (accuracy 63.30 % and 84.60 %): ten
views, 50,000 images, 2 networks.

NETWORK                PROTOCOL     TOP-1 ERROR  TOP-5 ERROR  SOURCE
2 CNNs*                ten views    36.7 (63.3)  15.4 (84.6)  this job
1 CNN                  ten views    40.7 (59.3)  18.2 (81.8)  the paper, Table 2
5 CNNs                 ten views    38.1 (61.9)  16.4 (83.6)  the paper, Table 2
1 CNN*                 ten views    39.0 (61.0)  16.6 (83.4)  the paper, Table 2
7 CNNs*                ten views    36.7 (63.3)  15.4 (84.6)  the paper, Table 2
Caffe's AlexNet        centre crop  42.9 (57.1)  19.8 (80.2)  Caffe's model zoo
cuda-convnet2, 1 GPU   centre crop  42.6 (57.4)  19.8 (80.2)  cuda-convnet2
cuda-convnet2, 1 GPU   ten views    40.4 (59.6)  18.2 (81.8)  cuda-convnet2
torchvision's alexnet  centre crop  43.5 (56.5)  20.9 (79.1)  torchvision
per cent, in brackets the accuracy; published of ILSVRC-2012 validation

NETWORK  TOP-1 ERROR  TOP-5 ERROR  JOB           STEP
CNN      40.7 (59.3)  18.2 (81.8)  000000000000  900000
CNN*     40.7 (59.3)  18.2 (81.8)  000000000001  900000

classes            1,000: tench, gold|fish, <shark>, ray, cock, ...
training images    1,281,167
validation images  50,000 (source: folder)
stored size        256 pixels"""
    )


def test_a_calibration_is_shown_with_its_phases() -> None:
    assert (
        shown(report_table(calibration_report()))
        == """\
calibration of the *paper* (0123456789ab)
12,800.0 images/s with 4 replicas on gpu, 25 % of the time spent waiting for
data.

steps       1,000 in 10.0 s
warm-up     20 steps, which are left out
images      128,000
backward    5.0 ms of a step, 50 %
data wait   2.5 ms of a step, 25 %
all reduce  2.5 ms of a step, 25 %"""
    )


@pytest.mark.parametrize("report", [training_report(), evaluation_report(), calibration_report()])
@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_folds_and_cuts_nothing(report: Report, width: int) -> None:
    assert "…" not in shown(report_table(report), width)


def test_notes_stand_above_the_rows() -> None:
    data = FACTS.model_copy(update={"has_ilsvrc_classes": False, "num_classes": 10})
    text = shown(report_table(training_report(data=data, notes=notes_on(data, 53, []))))
    assert text.index("no comparison with") < text.index("NETWORK")
