"""``joint`` and ``separate`` against passes written by hand, and against each other without BN."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.system.errors import UsageError
from pipeline.config.resolve import resolve
from pipeline.methods.batchnorm_passes import PASSES, joint, separate
from pipeline.training.trainer import Trainer
from tests.pipeline.by_hand import fresh, step, weights
from tests.pipeline.conftest import ALONE
from tests.pipeline.rank_worker import train_case

NORMED = {"name": "small_conv", "width": 4}
UDA: dict[str, Any] = {"weight": 2.0, "threshold": 0.3}
METHODS: dict[str, dict[str, Any]] = {
    "uda": {"method": "uda", "uda": UDA},
    "fixmatch": {"method": "fixmatch", "fixmatch": {"threshold": 0.3}},
    "pseudo_label": {"method": "pseudo_label", "pseudo_label": {"threshold": 0.3}},
    "mpl": {"method": "mpl", "uda": UDA, "mpl": {"weight": 30.0}},
    "mpl-soft": {"method": "mpl", "uda": UDA, "mpl": {"mode": "official-soft"}},
    "roleplay": {"method": "roleplay", "uda": UDA},
    "smpl-recompute": {"method": "smpl", "uda": UDA, "smpl": {"form": "recompute", "weight": 30.0}},
    "smpl-shared": {"method": "smpl", "uda": UDA, "smpl": {"form": "shared-graph", "weight": 30.0}},
    "metasemi": {"method": "metasemi"},
}
ByHand = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def weights_after(make: Callable[..., Trainer], choice: str, settings: dict[str, Any], steps: int) -> Tensor:
    """Return the weights of all networks after some steps, flattened."""
    trainer = make(**settings, mu=2, batch_statistics=choice)
    for number in range(steps):
        step(trainer, trainer.loader.batch(number), number)
    return torch.cat([weights(trainer, network) for network in trainer.networks])


@pytest.mark.parametrize("name", METHODS)
def test_without_batch_normalization_the_choice_changes_rounding_alone(make: Callable[..., Trainer], name: str) -> None:
    """With gradient descent at rate 1, equal weights mean equal gradients."""
    settings = METHODS[name] | {"model": {"name": "mlp", "hidden": [8]}}
    together, apart = (weights_after(make, choice, settings, 2) for choice in ("joint", "separate"))
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", METHODS)
def test_with_batch_normalization_the_choice_reaches_every_method_with_two_kinds_of_images(
    make: Callable[..., Trainer], name: str
) -> None:
    settings = METHODS[name] | {"model": NORMED}
    together, apart = (weights_after(make, choice, settings, 1) for choice in ("joint", "separate"))
    assert (together - apart).norm() > 1e-3


def concatenated(network: nn.Module, labeled: Tensor, strong: Tensor) -> tuple[Tensor, Tensor]:
    logits = network(torch.cat([labeled, strong]))
    return logits[: len(labeled)], logits[len(labeled) :]


def one_by_one(network: nn.Module, labeled: Tensor, strong: Tensor) -> tuple[Tensor, Tensor]:
    return network(labeled), network(strong)


@pytest.mark.parametrize(
    ("choice", "by_hand", "other"), [("joint", concatenated, one_by_one), ("separate", one_by_one, concatenated)]
)
def test_a_step_is_that_of_passes_made_by_hand_and_so_are_the_running_statistics(
    make: Callable[..., Trainer], choice: str, by_hand: ByHand, other: ByHand
) -> None:
    trainer = make(method="fixmatch", model=NORMED, fixmatch={"threshold": 0.0, "weight": 2.0}, batch_statistics=choice)
    batch, module = trainer.loader.batch(0), trainer.networks["model"].module.train()
    found = {}
    for passes in (by_hand, other):
        copy = deepcopy(module)
        with torch.no_grad():
            label = copy(batch.weak).argmax(1)
        labeled, strong = passes(copy, batch.labeled, batch.strong)
        loss = F.cross_entropy(labeled, batch.labels) + 2 * F.cross_entropy(strong, label)
        gradients = torch.autograd.grad(loss, list(copy.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(copy.parameters(), gradients, strict=True):
                parameter.sub_(gradient)  # the rate is 1
        found[passes] = copy.state_dict()
    step(trainer, fresh(batch))
    torch.testing.assert_close(module.state_dict(), found[by_hand], rtol=1e-9, atol=1e-11)
    statistics = [name for name in module.state_dict() if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) == 8
    assert all((found[by_hand][name] - found[other][name]).norm() > 1e-3 for name in statistics)


def test_separate_passes_update_the_running_statistics_twice_and_the_last_one_has_most_weight() -> None:
    first, second = torch.arange(36, dtype=torch.float64).view(12, 3).split([5, 7])
    together, apart = (nn.BatchNorm1d(3, momentum=0.3).double() for _ in range(2))
    logits = {"joint": joint(together, [first, second]), "separate": separate(apart, [first, second])}
    torch.testing.assert_close(together.running_mean, 0.3 * torch.cat([first, second]).mean(0))
    torch.testing.assert_close(apart.running_mean, 0.7 * 0.3 * first.mean(0) + 0.3 * second.mean(0))
    assert all([len(part) for part in parts] == [5, 7] for parts in logits.values())
    assert all(part.mean(0).abs().max() < 1e-12 for part in logits["separate"])
    assert logits["joint"][1].mean() > 0.5


@pytest.mark.parametrize("name", ["uda", "smpl-shared"])
def test_micro_batches_change_nothing_where_passes_are_separate(tmp_path: Path, name: str) -> None:
    settings = METHODS[name] | {"model": {"name": "mlp", "hidden": [16]}, "batch_statistics": "separate"}
    whole, quarters = (train_case(settings | {"accumulate": parts}, ALONE, tmp_path)["weights"] for parts in (1, 4))
    torch.testing.assert_close(whole, quarters, rtol=1e-9, atol=1e-9)


def test_the_choice_is_a_key_of_its_own_that_shapes_the_weights() -> None:
    default = resolve({}, {})
    assert default.batch_statistics == "joint"
    for name in PASSES:
        same = resolve({}, {"batch_statistics": name}).fingerprint() == default.fingerprint()
        assert same == (name == "joint")
    with pytest.raises(UsageError) as caught:
        resolve({}, {"batch_statistics": "apart"})
    assert str(caught.value) == "command line: batch_statistics: should be 'joint' or 'separate', not 'apart'"
