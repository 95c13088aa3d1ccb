"""The clock of a run: shares of time between marks, which a GPU times itself and which are read later."""

import time

import pytest
import torch

from pipeline.training.throughput import Clock


class Moments:
    """The time of a simulated clock; for a device, also how often it was waited for."""

    def __init__(self) -> None:
        self.now, self.waited_for = 0.0, 0


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    device = Moments()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = device.now

        def elapsed_time(self, late: "Event") -> float:
            assert device.waited_for, "read before the device was waited for"
            return 1000 * (late.at - self.at)

    def synchronize() -> None:
        device.waited_for += 1

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    return device


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Moments:
    clock = Moments()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def train(clock: Clock, *clocks: Moments, waits: float, computes: float) -> None:
    """Let every one of ``clocks`` go on by what a step takes."""
    with clock.waiting():
        for moment in clocks:
            moment.now += waits
    for moment in clocks:
        moment.now += computes
    clock.steps += 1


def test_a_reading_gives_the_share_since_the_one_before(host: Moments) -> None:
    clock = Clock()
    train(clock, host, waits=1, computes=3)
    assert clock.read(8) == {"images_per_s": 2, "data_wait": 0.25}
    train(clock, host, waits=1, computes=1)
    train(clock, host, waits=2, computes=0)
    assert clock.read(8) == {"images_per_s": 4, "data_wait": 0.75}


def test_on_a_gpu_waiting_is_the_devices_and_nobody_waits_for_it_before_the_log(
    host: Moments, moments: Moments
) -> None:
    clock = Clock("cuda")
    for _ in range(3):
        train(clock, moments, waits=1, computes=3)  # the host launched all of it at once
    assert moments.waited_for == 0
    host.now = 12
    assert clock.read(8) == {"images_per_s": 2, "data_wait": 0.25}
    assert moments.waited_for == 1
