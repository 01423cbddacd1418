from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data_shards.feeding.reader import Batch
from tests.unit.trainer.batches import make_batch, whole
from trainer.contract.spec import Protocol
from trainer.devices.replicas import Replicas
from trainer.errors import BadDataError
from trainer.evaluation.evaluate import Evaluation, Member, evaluate, means_of, tally
from trainer.evaluation.views import views
from trainer.learning.preprocess import Preprocess
from trainer.network.alexnet import AlexNet

CPU = torch.device("cpu")
STORED, CROP = 72, 64
FIRST = (STORED - CROP) // 2

Networks = Callable[..., AlexNet]


def _mean() -> npt.NDArray[np.float32]:
    # Not symmetric, nor the same anywhere: a wrong place or a forgotten mirror shows.
    pixels = np.arange(STORED * STORED * 3, dtype=np.float32).reshape(STORED, STORED, 3)
    return pixels / np.float32(100)


def _member(
    network: AlexNet, protocol: Protocol = "centre_crop", *, centre_mean: bool = False
) -> Member:
    preprocess = Preprocess(_mean(), None, (CPU, CPU), torch.float32, centre_mean=centre_mean)
    return Member(network, preprocess, views(protocol, image_size=STORED, input_size=CROP))


def _batch(*, num_classes: int = 10, num_real: int = 8, seed: int = 0) -> Batch:
    return whole(
        make_batch(crop_size=STORED, num_classes=num_classes, num_real=num_real, seed=seed)
    )


def _batches(num_classes: int = 10) -> list[Batch]:
    # The last is short: five places are padding.
    return [
        _batch(num_classes=num_classes, seed=seed, num_real=num_real)
        for seed, num_real in ((1, 8), (2, 8), (3, 3))
    ]


def _softmax(network: AlexNet, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(c, c, 3) -> (classes,)."""
    image = torch.from_numpy(x).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = network((image, image))[0].double().numpy()
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def _literal_ten_views(
    network: AlexNet, image: npt.NDArray[np.uint8], *, centre_mean: bool = False
) -> npt.NDArray[np.float64]:
    """Section 4.1: the softmaxes of four corners, the centre, and their mirrors, averaged."""
    mean = _mean()
    margin = STORED - CROP
    predictions = []
    for row, column in (0, 0), (0, margin), (margin, 0), (margin, margin), (FIRST, FIRST):
        place = np.s_[row : row + CROP, column : column + CROP]
        for step in (1, -1):
            crop = image[place].astype(np.float64)[:, ::step]
            if centre_mean:
                # `subtract_mean` of the 2012 source's convdata.py: after cutting and mirroring.
                subtracted = mean[FIRST : FIRST + CROP, FIRST : FIRST + CROP]
            else:
                subtracted = mean[place][:, ::step]
            predictions.append(_softmax(network, crop - subtracted))
    return np.asarray(np.mean(predictions, axis=0))


def _literal_centre(network: AlexNet, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    relative = image.astype(np.float64) - _mean()
    return _softmax(network, relative[FIRST : FIRST + CROP, FIRST : FIRST + CROP])


def _judge(
    batches: Sequence[Batch], predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
) -> Evaluation:
    """Count by hand."""
    losses, ranks = [], []
    for batch in batches:
        for image, label in zip(batch.images[batch.real], batch.labels[batch.real], strict=True):
            probabilities = predict(image)
            losses.append(-np.log(probabilities[label]))
            ranks.append(int((probabilities > probabilities[label]).sum()))
    return Evaluation(
        num_samples=len(ranks),
        loss=float(np.mean(losses)),
        top1=float(np.mean(np.array(ranks) < 1)),
        top5=float(np.mean(np.array(ranks) < 5)),
    )


def _same(result: Evaluation, expected: Evaluation) -> None:
    assert result.num_samples == expected.num_samples
    assert result.loss == pytest.approx(expected.loss, rel=1e-4)
    assert (result.top1, result.top5) == pytest.approx((expected.top1, expected.top5))


@pytest.mark.parametrize("micro_batch_size", [1, 3, 8])
@pytest.mark.parametrize("num_classes", [10, 3])
def test_the_centre_crop_is_what_numpy_says(
    small_network: Networks, micro_batch_size: int, num_classes: int
) -> None:
    network, batches = small_network(num_classes=num_classes), _batches(num_classes)
    result = evaluate(_member(network), batches, Replicas(CPU), micro_batch_size=micro_batch_size)
    assert result.num_samples == 19
    _same(result, _judge(batches, lambda image: _literal_centre(network, image)))


@pytest.mark.parametrize("centre_mean", [False, True])
def test_ten_views_are_what_section_4_1_says(small_network: Networks, centre_mean: bool) -> None:
    network, batches = _opinionated(small_network()), _batches()
    member = _member(network, "ten_view", centre_mean=centre_mean)
    literal = _judge(
        batches, lambda image: _literal_ten_views(network, image, centre_mean=centre_mean)
    )
    _same(evaluate(member, batches, Replicas(CPU), micro_batch_size=3), literal)
    # The mean of softmaxes is neither the softmax of the mean nor the centre's: it would show.
    centre = _judge(batches, lambda image: _literal_centre(network, image))
    assert abs(centre.loss - literal.loss) > 1e-3


def _opinionated(network: AlexNet) -> AlexNet:
    """Let the views of an image disagree: drawn weights alone leave all classes near chance."""
    with torch.no_grad():
        network.fc8.weight *= 20
    return network


def test_an_ensemble_of_different_networks_averages_their_softmaxes(
    small_network: Networks,
) -> None:
    networks = [
        _opinionated(small_network(seed=1)),
        _opinionated(small_network(seed=2, width=0.25, recipe="source2012", sixth_conv=True)),
    ]
    members = [_member(network, "ten_view") for network in networks]
    batches = _batches()
    sums = sum(tally(members, batch, micro_batch_size=8) for batch in batches)
    assert isinstance(sums, torch.Tensor)
    together, *alone = (means_of(row) for row in sums.tolist())

    def mean(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        return np.mean([_literal_ten_views(network, image) for network in networks], axis=0)

    _same(together, _judge(batches, mean))
    for member, own in zip(members, alone, strict=True):
        assert own == evaluate(member, batches, Replicas(CPU), micro_batch_size=8)
        assert own.loss > together.loss


def test_what_a_view_holds_to_be_impossible_leaves_a_finite_loss(
    small_network: Networks,
) -> None:
    network = small_network()
    with torch.no_grad():
        network.fc8.bias[0] = 5000.0
    batch = _batch()
    batch.labels[:] = 1
    result = evaluate(_member(network, "ten_view"), [batch], Replicas(CPU), micro_batch_size=8)
    # Its probability, e^-5000, is 0 in any floating-point number.
    assert result.loss == pytest.approx(5000, abs=5)


def test_padding_weighs_nothing_whatever_it_holds(small_network: Networks) -> None:
    network = small_network()

    def of(fill: int) -> object:
        batch = _batch(num_real=5)
        batch.images[5:] = fill
        batch.labels[5:] = fill % 10
        return evaluate(_member(network, "ten_view"), [batch], Replicas(CPU), micro_batch_size=8)

    assert of(0) == of(255)


def test_of_no_samples_there_is_no_result(small_network: Networks) -> None:
    with pytest.raises(BadDataError, match=r"data\.validation: none of its samples could be read"):
        evaluate(_member(small_network()), [_batch(num_real=0)], Replicas(CPU), micro_batch_size=8)


def test_leaves_no_gradient(small_network: Networks) -> None:
    network = small_network()
    evaluate(_member(network), [_batch()], Replicas(CPU), micro_batch_size=8)
    assert all(weight.grad is None for weight in network.parameters())
