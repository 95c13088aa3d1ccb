from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.evaluation.scoring import evaluate
from pipeline.methods import METHODS
from pipeline.training.ema import Average
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import ALONE, assert_same, weights_of


def test_closed_form_of_the_ramped_average() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)).double()
    average = Average(network, decay=0.5)
    expected_weight = network[0].weight.item()
    expected_mean = network[1].running_mean.item()
    for step in range(8):
        with torch.no_grad():
            network[0].weight.fill_(float(step))
            network[1].running_mean.fill_(-float(step))
            network[1].num_batches_tracked += 1
        decay = min(0.5, (step + 1) / (step + 10))
        expected_weight = decay * expected_weight + (1 - decay) * step
        expected_mean = decay * expected_mean + (1 - decay) * -step
        average.update()
    assert average.network[0].weight.item() == pytest.approx(expected_weight, rel=1e-12)
    assert average.network[1].running_mean.item() == pytest.approx(expected_mean, rel=1e-12)
    assert average.network[1].num_batches_tracked == 8


def test_the_average_moves_once_a_step_whatever_the_method_does(make_trainer: Callable[..., Trainer]) -> None:
    for method in METHODS.built_in:
        trainer = make_trainer(out=method, method=method)
        trainer.train(until=4)
        assert [average.updates for average in trainer.averages.values()] == [4] * len(trainer.averages)


def test_the_student_is_averaged_from_the_end_of_its_wait(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="mpl", mpl={"student_wait": 3})
    before = {name: tensor.clone() for name, tensor in trainer.networks["student"].module.state_dict().items()}
    trainer.train(until=3)
    assert_same(before, trainer.networks["student"].module.state_dict())
    assert trainer.averages["student"].updates == 0
    trainer.train(until=5)
    assert trainer.averages["student"].updates == 2


def test_evaluation_changes_nothing(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="mpl")
    trainer.train(until=2)
    for network in trainer.networks.values():
        network.module.train()
    before = weights_of(trainer)
    evaluate(trainer.evaluated["student"].module, trainer.data.val, ALONE, trainer.precision)
    assert trainer.evaluated["student"].module.training
    assert_same(before, weights_of(trainer))
