"""``smpl bench memory``: counts agree with graphs counted by hand, and methods rank as their passes predict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks.memory import ROWS, SavedActivations, engine_step, measure, public_step
from pipeline.cli import main
from pipeline.training.trainer import Trainer
from tests.pipeline.conftest import ALONE, make_config, make_data

FLOAT = 4
LAYERS = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
INPUT, HIDDEN = 5 * 4 * FLOAT, 5 * 8 * FLOAT
"""What five samples leave for the backward pass: the input, and the hidden layer, which ReLU and Linear both save."""


def test_a_storage_that_two_nodes_save_counts_once_and_parameters_do_not() -> None:
    saved = SavedActivations(LAYERS.parameters())
    with saved.counted():
        loss = LAYERS(torch.randn(5, 4)).sum()
    assert saved.alive == INPUT + HIDDEN
    loss.backward()
    assert (saved.alive, saved.peak) == (0, INPUT + HIDDEN)


def test_graphs_held_together_add_up_and_graphs_one_after_the_other_do_not() -> None:
    saved = SavedActivations(LAYERS.parameters())
    with saved.counted():
        for _ in range(2):
            LAYERS(torch.randn(5, 4)).sum().backward()
        assert saved.peak == INPUT + HIDDEN
        both = LAYERS(torch.randn(5, 4)).sum(), LAYERS(torch.randn(5, 4)).sum()
    assert saved.peak == 2 * (INPUT + HIDDEN)
    del both
    assert saved.alive == 0


def test_a_retained_graph_counts_until_it_goes_and_a_view_as_what_it_holds() -> None:
    saved = SavedActivations()
    x = torch.randn(6, requires_grad=True)
    with saved.counted():
        loss = (x.exp()[:2] ** 2).sum()  # the power saves two of the six numbers that the exponential saved
    loss.backward(retain_graph=True)
    assert saved.alive == 6 * FLOAT
    loss.backward()
    assert (saved.alive, saved.peak) == (0, 6 * FLOAT)


@pytest.fixture(scope="module")
def held() -> dict[str, dict[str, int]]:
    """What each row holds with a small network, one labeled image and two unlabeled ones for it, eight times."""
    model = {"name": "small_conv", "width": 16}
    data = make_data()
    return {
        name: measure(make_config(model=model, **settings), data, ALONE, step)
        for name, (settings, step) in ROWS.items()
    }


@pytest.mark.slow
def test_smpl_holds_less_than_mpl_and_both_less_than_mpl_in_the_order_of_public_code(
    held: dict[str, dict[str, int]],
) -> None:
    for name in ("smpl-recompute", "smpl-shared-graph"):
        assert held[name]["total_bytes"] < held["mpl"]["total_bytes"]
        assert held[name]["activation_bytes"] < held["mpl-public-order"]["activation_bytes"]
    assert held["mpl"]["activation_bytes"] < held["mpl-public-order"]["activation_bytes"]


@pytest.mark.slow
def test_activations_are_in_proportion_to_the_images_of_the_greatest_graph(held: dict[str, dict[str, int]]) -> None:
    """In batches of labeled images, mu = 2; BN's statistics and the losses of each graph are the small rest."""
    images = {
        "uda": 3,  # labeled and strong
        "metasemi": 4,  # mixed and weak
        "smpl-recompute": 3,
        "smpl-shared-graph": 3,
        "mpl": 3,  # the teacher's, which is built after the student's is freed
        "mpl-unrolled": 3,
        "mpl-public-order": 5 + 3,  # the teacher's with the weak views, and the student's
    }
    one = held["supervised"]["activation_bytes"]
    assert {name: held[name]["activation_bytes"] / one for name in images} == pytest.approx(images, rel=0.03)


@pytest.mark.slow
def test_state_is_weights_momentum_and_averages(held: dict[str, dict[str, int]]) -> None:
    """Two networks' weights and momentum and one average are 5 to one network's 3, but for buffers."""
    one, two = held["supervised"]["state_bytes"], held["mpl"]["state_bytes"]
    assert one == held["smpl-recompute"]["state_bytes"]
    assert two / one == pytest.approx(5 / 3, rel=0.01)


@pytest.mark.parametrize("step", [engine_step, public_step])
def test_no_graph_outlives_a_step(make_trainer: Callable[..., Trainer], step: Callable[[Trainer], None]) -> None:
    trainer, saved = make_trainer(method="mpl"), SavedActivations()
    with saved.counted():
        step(trainer)
    assert saved.peak > 0
    assert saved.alive == 0


def test_the_public_order_trains_both_networks(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(method="mpl")
    before = {name: next(network.module.parameters()).clone() for name, network in trainer.networks.items()}
    public_step(trainer)
    moved = {
        name for name, network in trainer.networks.items() if (next(network.module.parameters()) != before[name]).any()
    }
    assert moved == {"teacher", "student"}


@pytest.mark.slow
def test_the_command_gives_the_rows_asked_for_beside_both_references(tmp_path: Path) -> None:
    out = tmp_path / "memory.json"
    small = ["--batch-size", "2", "--mu", "1", "--width", "1", "--methods", "smpl-recompute,mpl"]
    result = CliRunner().invoke(main, ["bench", "memory", "--json", *small, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    assert [row["method"] for row in rows] == ["smpl-recompute", "mpl"]
    assert rows[1]["to_mpl"] == 1
    assert rows[0]["to_mpl"] < 1
    assert rows[0]["to_public_order"] < rows[1]["to_public_order"] < 1
    record = json.loads(out.read_text())
    assert record["rows"] == rows
    assert {"command", "commit", "machine"} <= record.keys()


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["bench", "memory", "--methods", "mlp"])
    assert result.exit_code == 2
    assert "did you mean 'mpl'" in result.stderr
