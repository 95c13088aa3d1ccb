import copy
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch

from pipeline.config.schema import OptimizerOptions
from pipeline.training.lr_schedule import rate_factor
from pipeline.training.optimizer import OPTIMIZERS, build_optimizer
from pipeline.training.trainer import Trainer

PLAN = {"wait": 30, "total": 1000}
COSINE = OptimizerOptions(warmup=50)


def test_waits_then_warms_up_then_falls_to_zero() -> None:
    at = {step: rate_factor(step, COSINE, **PLAN) for step in (0, 29, 30, 79, 80, 540, 1000)}
    assert at[0] == at[29] == 0
    assert at[30] == pytest.approx(1 / 50)
    assert at[79] == at[80] == 1
    assert at[540] == pytest.approx(0.5)
    assert at[1000] == pytest.approx(0, abs=1e-12)


def test_never_jumps() -> None:
    factors = [rate_factor(step, COSINE, **PLAN) for step in range(1001)]
    steps = [abs(after - before) for before, after in itertools.pairwise(factors)]
    assert max(steps[:80]) == pytest.approx(1 / 50)
    assert max(steps[80:]) < math.pi / 2 / (1000 - 80)


def test_a_run_shorter_than_its_warm_up_only_warms_up() -> None:
    assert [rate_factor(step, OptimizerOptions(warmup=10), wait=0, total=3) for step in range(3)] == pytest.approx(
        [0.1, 0.2, 0.3]
    )


@pytest.mark.parametrize("total", [10, 100, 1000])
def test_one_cycle_is_torch_s(total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total)
    options = OptimizerOptions(schedule="one-cycle")
    for step in range(total):
        assert rate_factor(step, options, wait=7, total=total + 7) == 0 or step >= 7
        assert rate_factor(step + 7, options, wait=7, total=total + 7) == pytest.approx(oracle.get_last_lr()[0])
        optimizer.step()
        oracle.step()


def test_the_length_of_one_cycle_s_rise_can_be_given() -> None:
    options = OptimizerOptions(schedule="one-cycle", warmup=10)
    factors = [rate_factor(step, options, wait=0, total=100) for step in range(100)]
    assert factors.index(max(factors)) == 9
    assert max(factors) == 1


def test_a_rise_of_one_step_is_at_the_full_rate() -> None:
    options = OptimizerOptions(schedule="one-cycle", warmup=1)
    factors = [rate_factor(step, options, wait=3, total=103) for step in range(103)]
    assert factors[:3] == [0, 0, 0]
    assert factors[3] == 1
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 250_000)


def test_a_triangle_rises_over_the_warm_up_and_falls_to_zero_in_a_straight_line() -> None:
    options = OptimizerOptions(schedule="triangular", warmup=4)
    factors = [rate_factor(step, options, wait=2, total=16) for step in range(17)]
    assert factors == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, *(1 - step / 10 for step in range(11))])
    alone = OptimizerOptions(schedule="triangular")
    assert [rate_factor(step, alone, wait=0, total=4) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_the_step_schedule_falls_at_its_milestones() -> None:
    options = OptimizerOptions(schedule="step", milestones=[300, 350], decay=0.1, warmup=2)
    at = {step: rate_factor(step, options, wait=0, total=400) for step in (0, 2, 299, 300, 349, 350, 399)}
    assert list(at.values()) == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_constant_rate_is_constant_after_its_warm_up() -> None:
    options = OptimizerOptions(schedule="constant", warmup=4)
    assert [rate_factor(step, options, wait=0, total=8) for step in (0, 3, 4, 7)] == [0.25, 1, 1, 1]


def test_no_weight_decays_that_has_one_dimension_in_any_optimizer() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    for name in OPTIMIZERS:
        optimizer = build_optimizer(module, OptimizerOptions(name=name, weight_decay=0.5))  # type: ignore[arg-type]
        decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        assert decays == {2: 0.5, 1: 0.0}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_with_decay_of_all_parameters_is_torch_s_own_step(nesterov: bool, momentum: float) -> None:
    """This is what public code without parameter groups trains with; BN and biases decay as well."""
    ours, theirs = (torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    options = OptimizerOptions(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.5, decayed="all")
    optimizer = build_optimizer(ours, options)
    oracle = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=0.5
    )
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    for step in range(3):
        for module, its_optimizer in ((ours, optimizer), (theirs, oracle)):
            its_optimizer.zero_grad()
            module(torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3) + step).square().mean().backward()
            its_optimizer.step()
    torch.testing.assert_close([*ours.parameters()], [*theirs.parameters()])
    assert all((old != new).any() for old, new in zip(before, ours.parameters(), strict=True))


@pytest.mark.parametrize("decayed", ["weights", "all"])
def test_bn_biases_learn_faster_and_decay_as_before(
    make: Callable[..., Trainer], decayed: Literal["weights", "all"]
) -> None:
    """A run with a factor is torch's SGD with a group for BN's biases, whose decay a step is that of the others."""
    optimizer = {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "decayed": decayed}
    model = {"name": "small_conv", "width": 4}
    trainer = make(method="supervised", model=model, steps=4, optimizer=optimizer | {"bn_bias_lr_factor": 8.0})
    ours = trainer.networks["model"].module
    theirs = copy.deepcopy(ours).train()
    biases = [layer.bias for layer in theirs.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    vectors = [p for p in theirs.parameters() if p.ndim == 1 and not any(p is bias for bias in biases)]
    decay = 0.1 if decayed == "all" else 0.0
    groups: list[dict[str, Any]] = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": vectors, "weight_decay": decay},
        {"params": biases, "lr": 0.08, "weight_decay": decay / 8},
    ]
    oracle = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    base = [group["lr"] for group in oracle.param_groups]
    for step in range(4):
        batch = trainer.loader.batch(step)
        trainer.runner.run(step, trainer.method.step(step), [batch])
        for group, rate in zip(oracle.param_groups, base, strict=True):
            group["lr"] = rate * rate_factor(step, trainer.config.optimizer, wait=0, total=4)
        oracle.zero_grad()
        torch.nn.functional.cross_entropy(theirs(batch.labeled), batch.labels).backward()
        oracle.step()
    assert len(biases) == 4
    torch.testing.assert_close([*ours.parameters()], [*theirs.parameters()], rtol=1e-10, atol=1e-12)
    assert trainer.networks["model"].rate == oracle.param_groups[0]["lr"], "the rate that is logged has no factor"


def test_plain_and_nesterov_momentum_differ() -> None:
    """Two steps of rate 1 and gradient 1 are 1 and 1 + m; with Nesterov they are 1 + m and 1 + m + m^2."""
    moved = {}
    for nesterov in (False, True):
        module = torch.nn.Linear(1, 1, bias=False)
        options = OptimizerOptions(lr=1.0, momentum=0.5, nesterov=nesterov, weight_decay=0.0)
        optimizer = build_optimizer(module, options)
        steps = []
        for _ in range(2):
            before = module.weight.item()
            module.weight.grad = torch.ones(1, 1)
            optimizer.step()
            steps.append(before - module.weight.item())
        moved[nesterov] = steps
    assert moved == {False: pytest.approx([1, 1.5]), True: pytest.approx([1.5, 1.75])}


def test_adamw_is_torch_s_own_step() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    other = torch.nn.Parameter(torch.ones(2, 2))
    module = torch.nn.Module()
    module.register_parameter("weight", weight)
    ours = build_optimizer(module, OptimizerOptions(name="adamw", lr=0.1, momentum=0.8, weight_decay=0.2))
    oracle = torch.optim.AdamW([other], lr=0.1, betas=(0.8, 0.999), weight_decay=0.2)
    for step in range(3):
        weight.grad = other.grad = torch.full((2, 2), 0.5 + step)
        ours.step()
        oracle.step()
    torch.testing.assert_close(weight, other)
