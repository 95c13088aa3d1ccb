"""One rank of a run: what all ranks must agree on, and how each of them ends."""

import socket
from pathlib import Path
from typing import Any

import pytest

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError, UsageError, UserError
from data_prep.system.signal_handlers import Stopped
from pipeline.distributed.world import World
from pipeline.run_folder import RunFolder
from pipeline.training import rank
from pipeline.training.nonfinite_guard import NonFiniteError
from pipeline.training.rank import check_agreement, explain, run_rank
from pipeline.training.trainer import StoppedError
from tests.pipeline.conftest import CPU, make_config


class Recorder(World):
    """A world of which only this rank is seen; it records what is gathered."""

    gathered: list[Any] = []  # noqa: RUF012

    def any(self, flag: bool) -> bool:
        return flag

    def gather(self, value: Any) -> list[Any]:
        self.gathered.append(value)
        return [value]


def test_data_options_are_compared_by_the_fingerprint_of_the_set(tmp_path: Path) -> None:
    prepare(PrepareRequest("digits", out=tmp_path))
    check_agreement(make_config(), tmp_path, Recorder(1, 2, CPU))
    (settings,) = Recorder.gathered
    assert settings["optimizer.lr"] == 0.05
    assert "data" in settings
    assert not [key for key in settings if key.startswith("data.")]


@pytest.mark.parametrize(
    ("number", "local", "error", "code", "message"),
    [
        (0, 0, DataError("x.tar: damaged"), None, "x.tar: damaged"),
        (3, 1, DataError("x.tar: damaged"), None, "rank 3: x.tar: damaged"),
        (2, 0, StoppedError(), 4, ""),
        (0, 0, NonFiniteError("step 7: a gradient is not finite"), None, "step 7: a gradient is not finite; lower"),
        (1, 1, NonFiniteError("step 7: a gradient is not finite"), 1, ""),
    ],
)
def test_an_error_that_all_ranks_know_is_raised_once_on_a_node_and_any_other_where_it_happens(
    monkeypatch: pytest.MonkeyPatch, number: int, local: int, error: Exception, code: int | None, message: str
) -> None:
    def job(*_: object) -> None:
        raise error

    monkeypatch.setenv("LOCAL_RANK", str(local))
    monkeypatch.setattr(rank, "join_world", lambda: World(number, 4, CPU))
    monkeypatch.setattr(rank, "check_agreement", lambda *_: None)
    run = RunFolder(Path("run"))
    if code is not None:
        assert run_rank(make_config(), Path("data"), run, job) == code
        return
    with pytest.raises(UserError) as caught:
        run_rank(make_config(), Path("data"), run, job)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("saved", "kept"), [([], "has no checkpoint yet"), ([3, 6], "keeps the checkpoint of step 6")])
def test_a_gradient_that_is_not_finite_is_explained_with_the_remedy_first(
    tmp_path: Path, saved: list[int], kept: str
) -> None:
    run = RunFolder(tmp_path)
    for step in saved:
        run.checkpoints.save(step, {"step": step})
    error = NonFiniteError("step 7: a gradient is not finite", {"labeled": [5, 1, 9, 2], "unlabeled": list(range(160))})
    assert explain(error, run) == (
        f"step 7: a gradient is not finite; lower optimizer.lr or set optimizer.clip; {tmp_path} {kept}; "
        "first sample ids of its batch: labeled 5, 1, 9, unlabeled 0, 1, 2"
    )


def test_a_port_in_use_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError) as caught:
            run_rank(make_config(), Path("data"), RunFolder(Path("run")), lambda *_: None)
    assert str(caught.value) == f"port {port} is in use; set MASTER_PORT to a free one on every rank"


def test_an_error_of_all_ranks_is_not_repeated_by_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UsageError("steps is 6 on rank 0, 7 on rank 1")
    error.shared = True

    def job(*_: object) -> None:
        raise error

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank, "join_world", lambda: World(1, 2, CPU))
    monkeypatch.setattr(rank, "check_agreement", lambda *_: None)
    assert run_rank(make_config(), Path("data"), RunFolder(Path("run")), job) == 2


@pytest.mark.parametrize("local", [0, 1])
def test_a_signal_before_training_is_reported_by_the_first_rank_of_a_node(
    monkeypatch: pytest.MonkeyPatch, local: int
) -> None:
    def join() -> None:
        raise Stopped("SIGINT")

    monkeypatch.setenv("LOCAL_RANK", str(local))
    monkeypatch.setattr(rank, "join_world", join)
    if local == 0:
        with pytest.raises(Stopped):
            run_rank(make_config(), Path("data"), RunFolder(Path("run")))
    else:
        assert run_rank(make_config(), Path("data"), RunFolder(Path("run"))) == 4
