"""Ctrl-C and SIGTERM in training: what is said at once, what is saved, and what a second Ctrl-C does."""

import signal
from collections.abc import Callable

import pytest

from data_prep.system.signal_handlers import Stopped
from pipeline.training.throughput import Clock
from pipeline.training.trainer import StoppedError, Trainer

SAYS = "stopping after this step, then saving; press Ctrl-C again to stop without saving\n"


class Interrupted(Trainer):
    """A trainer that gets signals while its second step runs."""

    signals: tuple[signal.Signals, ...]

    def train_step(self, clock: Clock) -> None:
        super().train_step(clock)
        for number in self.signals if self.step == 2 else ():
            signal.raise_signal(number)


@pytest.fixture
def interrupted(make_trainer: Callable[..., Trainer]) -> Callable[..., Interrupted]:
    def make(*signals: signal.Signals) -> Interrupted:
        trainer = make_trainer(save_every=100, log_every=100)
        trainer.__class__ = Interrupted
        assert isinstance(trainer, Interrupted)
        trainer.signals = signals
        return trainer

    return make


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_once_the_step_ends_and_the_run_is_saved(
    interrupted: Callable[..., Interrupted], number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = interrupted(number, signal.SIGTERM)
    with pytest.raises(StoppedError):
        trainer.train()
    assert capfd.readouterr().err == f"{number.name}: {SAYS}"
    assert trainer.checkpoints.steps() == [2]


def test_ctrl_c_a_second_time_ends_at_once_without_saving(
    interrupted: Callable[..., Interrupted], capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = interrupted(signal.SIGTERM, signal.SIGINT)
    with pytest.raises(Stopped, match="before it could save"):
        trainer.train()
    assert capfd.readouterr().err == f"SIGTERM: {SAYS}"
    assert trainer.checkpoints.steps() == []


def test_a_rank_that_the_command_launched_leaves_the_answer_to_it(
    interrupted: Callable[..., Interrupted], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.training.trainer.is_launched", lambda: True)
    trainer = interrupted(signal.SIGINT, signal.SIGINT)
    with pytest.raises(StoppedError):
        trainer.train()
    assert capfd.readouterr().err == ""
    assert trainer.checkpoints.steps() == [2]
