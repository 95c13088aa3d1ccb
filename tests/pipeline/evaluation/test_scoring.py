"""Training and ``smpl evaluate`` score by one loop: the same batches in the same precision give the same bits."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.data.resident.split import EVAL_BATCH_SIZE, ResidentSplit
from pipeline.evaluation.class_scores import evaluate_classes
from pipeline.evaluation.scoring import evaluate, predict
from pipeline.models.ensemble import Ensemble
from pipeline.precision import choose_precision
from tests.pipeline.conftest import ALONE

IMAGES, CLASSES = EVAL_BATCH_SIZE + 83, 7
"""Two batches, of which the last is not full."""


def convolution(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, CLASSES))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def split(*, unknown: int = 0) -> ResidentSplit:
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES,), generator=random)
    labels[:unknown] = -1
    return ResidentSplit(torch.arange(IMAGES), torch.randn(IMAGES, 3, 8, 8, generator=random), labels)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("members", [1, 2])
def test_both_give_the_same_logits_and_scores_bit_for_bit(members: int, precision: str) -> None:
    networks = {str(seed): convolution(seed) for seed in range(members)}
    network = Ensemble(networks) if members > 1 else networks["0"]
    numbers, data = choose_precision(precision, ALONE.device), split()
    found = evaluate_classes(network, data.batches(ALONE), [str(n) for n in range(CLASSES)], ALONE, numbers)
    assert vars(found.score) == evaluate(network, data, ALONE, numbers)
    for name, score in found.members.items():
        assert vars(score) == evaluate(networks[name], data, ALONE, numbers)
    outputs = [logits for logits, _ in predict(network, data.batches(ALONE), numbers)]
    with torch.no_grad(), numbers.autocast():
        direct = [network.eval()(images) for images, _ in data.batches(ALONE)]
    assert all(torch.equal(logits[0], alone) for logits, alone in zip(outputs, direct, strict=True))


def test_the_sums_are_in_fp64_batch_by_batch() -> None:
    network, data, right, loss = convolution(0).eval(), split(), 0.0, 0.0
    with torch.no_grad():
        for images, labels in data.batches(ALONE):
            logits = network(images)
            right += (logits.argmax(1) == labels).sum().item()
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
    found = evaluate(network, data, ALONE, choose_precision("fp32", ALONE.device))
    assert found == {"accuracy": 100 * (right / IMAGES), "loss": loss / IMAGES}


def test_images_of_unknown_class_do_not_count() -> None:
    network, numbers = convolution(0), choose_precision("fp32", ALONE.device)
    known = split()
    rest = ResidentSplit(known.ids[5:], known.images[5:], known.labels[5:])
    found = evaluate(network, split(unknown=5), ALONE, numbers)
    assert found["accuracy"] == evaluate(network, rest, ALONE, numbers)["accuracy"]
    assert found["loss"] == pytest.approx(evaluate(network, rest, ALONE, numbers)["loss"], rel=1e-6)


def test_the_network_stays_in_its_mode_even_if_nobody_reads_to_the_end() -> None:
    network = convolution(0)
    for _ in predict(network, split().batches(ALONE), choose_precision("fp32", ALONE.device)):
        assert not network.training
        break
    assert network.training
