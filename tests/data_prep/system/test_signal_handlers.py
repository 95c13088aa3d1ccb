"""The first stop signal, and what comes after it."""

import signal

from data_prep.system.signal_handlers import StopGently, handle_stop_signals


def test_the_first_signal_stops_gently_ctrl_c_after_it_at_once_and_others_change_nothing() -> None:
    calls: list[str] = []
    stop = StopGently(lambda *_: calls.append("gently"), lambda *_: calls.append("at once"))
    with handle_stop_signals(stop):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert calls == ["gently"]
        assert not stop.hurried
        signal.raise_signal(signal.SIGINT)
    assert calls == ["gently", "at once"]
    assert stop.hurried
