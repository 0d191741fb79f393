import os
import signal
import threading
import time

import pytest

from repic import signals


@pytest.fixture(autouse=True)
def _default_handlers():
    """Whoever runs the tests may ignore Ctrl-C."""
    numbers = {*signals.HEEDED, *signals.PASSED_ON}
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.HEEDED)
def test_a_signal_ends_the_block_at_once_and_handlers_are_given_back(number: int) -> None:
    with pytest.raises(signals.Stopped) as caught, signals.heeded():
        signal.raise_signal(number)
    assert caught.value.code == (130 if number == signal.SIGINT else 143)
    assert signal.getsignal(number) == signal.SIG_DFL
    assert signals.asked() is None


def test_training_is_asked_and_not_cut_short() -> None:
    done = []

    def train() -> None:
        with signals.heeded(), signals.patient():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # a scheduler and torchrun may both say so
            done.append(signals.asked())

    with pytest.raises(signals.Stopped):
        train()
    assert done == [signal.SIGTERM]


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    begun = time.monotonic()

    def train() -> None:
        with signals.patient():
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(5)

    with pytest.raises(signals.Stopped, match="SIGUSR1"):
        train()
    assert time.monotonic() - begun < 3


def test_ctrl_c_is_not_patient() -> None:
    with pytest.raises(signals.Stopped, match="interrupted"), signals.patient():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("first", "second", "code"), [("SIGINT", "SIGINT", 130), ("SIGTERM", None, 143)]
)
def test_what_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str | None, code: int
) -> None:
    ended: list[int] = []
    written: list[bytes] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(os, "write", lambda where, text: written.append(text))
    monkeypatch.setattr(signals, "LIMIT", 0.05)
    with signals.heeded():
        try:
            signal.raise_signal(signal.Signals[first])
        except signals.Stopped:  # somebody who is slow to tidy up
            if second:
                signal.raise_signal(signal.Signals[second])
            else:
                time.sleep(1)
    assert ended == [code]
    assert written[0].startswith(b"repic: ")
    assert written[0].endswith(b"; the same command goes on from there\n")


def test_a_library_s_handler_is_taken_back_and_somebody_else_s_is_left() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    with signals.heeded():
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("Lightning's"))
        signals.retake()
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(signals.Stopped):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", signals.PASSED_ON)
@pytest.mark.parametrize("asks", ["the signal", "another rank"])
def test_who_queues_the_job_again_is_called_when_training_has_saved(number: int, asks: str) -> None:
    done: list[object] = []

    def requeue(*given: object) -> None:  # as submitit's
        done.append(given)
        raise SystemExit(-1)

    signal.signal(number, requeue)

    def train() -> None:
        with signals.patient():
            if asks == "the signal":
                signal.raise_signal(number)
            done.append(f"saved {signals.asked()}")
            if asks == "another rank":
                raise signals.Stopped(number)

    with pytest.raises(SystemExit):
        train()
    assert done == [f"saved {number if asks == 'the signal' else None}", (number, None)]
    assert signal.getsignal(number) == requeue


def test_who_queues_the_job_again_is_called_where_nothing_is_saved_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "_exit", done.append)
    monkeypatch.setattr(os, "write", lambda where, text: None)
    monkeypatch.setattr(signals, "LIMIT", 0.05)
    signal.signal(signal.SIGUSR2, lambda *_: done.append("queued again"))

    def train() -> None:
        with signals.patient():
            signal.raise_signal(signal.SIGUSR2)
            deadline = time.monotonic() + 5
            while len(done) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)

    with pytest.raises(signals.Stopped, match="SIGUSR2"):
        train()
    assert done[:2] == ["queued again", signals.TOLD]


def test_a_forked_process_ends_as_without_us() -> None:
    with signals.heeded():
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(5)
            finally:
                os._exit(7)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_a_thread_leaves_signals_alone() -> None:
    seen = []

    def job() -> None:
        with signals.patient():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
