"""Trackers that fail or hang: the run goes on, and says it once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.paths import RECIPES
from support.processes.launching import records

from mdpo_core import (
    Example,
    PluginError,
    Sample,
    Tracker,
    TrackerLog,
    load_recipe,
    register,
    run,
)
from mdpo_core.registry.discovery import current_registry, make_component, use_registry
from mdpo_core.training import trackers
from mdpo_core.training.trackers import Failure, failures_in, tracking

FOREVER = threading.Event()
SAMPLE = Sample(Example("1", "what is it?", {"chosen": "a dog"}), "a cat")


class Log:
    """Remembers what it is told; what a test gives for a moment happens then. It has no ``log_samples``."""

    def __init__(self, happens: Mapping[str, Callable[[], object]]) -> None:
        self.told: list[str] = []
        self._happens = happens

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._tell(f"log {step}", "log")

    def close(self) -> None:
        self._tell("close", "close")

    def _tell(self, what: str, moment: str) -> None:
        self.told.append(what)
        self._happens.get(moment, lambda: None)()


class Reading(Log, TrackerLog):
    """One that also takes samples."""

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        self._tell(f"samples {step}: {samples[0].answer}", "samples")


class Watching(Tracker):
    """Opens the log that a test gives it."""

    def start(self, folder: Path) -> Any:
        LOGS.get("start", lambda: None)()
        return LOGS["log"]


LOGS: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = current_registry()
    LOGS.clear()
    register("watching", Watching)
    monkeypatch.setattr(trackers, "PATIENCE", 0.3)
    yield
    use_registry(before)


def bad_exit() -> None:
    sys.exit(3)


def bad_call() -> None:
    raise ConnectionError("the server is gone")


def tell_two_steps(folder: Path) -> None:
    with tracking([Watching()], folder) as told:
        told.log(1, {"loss": 0.7})
        told.log_samples(1, [SAMPLE])
        told.log(2, {"loss": 0.6})


def test_a_tracker_gets_all_in_order_and_samples_if_it_takes_them(tmp_path: Path) -> None:
    for log in (Log({}), Reading({})):
        LOGS["log"] = log
        tell_two_steps(tmp_path)
    assert log.told == ["log 1", "samples 1: a cat", "log 2", "close"]


@pytest.mark.parametrize("moment", ["start", "log", "samples", "close"])
@pytest.mark.parametrize("fault", [bad_call, bad_exit, FOREVER.wait])
def test_whatever_a_tracker_does_is_said_once_and_ends_nothing(
    moment: str, fault: Callable[[], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LOGS["log"] = Reading({moment: fault})
    if moment == "start":
        LOGS["start"] = fault
    began = time.monotonic()
    tell_two_steps(tmp_path)
    assert time.monotonic() - began < 5
    (said,) = caplog.messages
    reasons = {
        bad_call: "raised ConnectionError: the server is gone (test_trackers.py:",
        bad_exit: "called sys.exit(3) (test_trackers.py:",
        FOREVER.wait: "hangs, and the run does not wait for it any longer",
    }
    assert said.startswith(f"the tracker 'watching' {reasons[fault]}")
    assert said.endswith("; the run goes on, and metrics.jsonl has every step")
    [failed] = failures_in(tmp_path).items()
    assert failed == (0, Failure(said.partition("; the run goes on")[0], started=moment != "start"))


def test_a_tracker_that_works_again_has_not_failed(tmp_path: Path) -> None:
    LOGS["log"] = Reading({"log": bad_call})
    tell_two_steps(tmp_path)
    assert failures_in(tmp_path).keys() == {0}
    LOGS["log"] = Reading({})
    tell_two_steps(tmp_path)
    assert failures_in(tmp_path) == {}


def long_call() -> None:
    raise PluginError(f"the server {'is gone ' * 90}\nand much more")


def test_a_long_reason_is_told_in_one_short_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LOGS["log"] = Reading({"close": long_call})
    tell_two_steps(tmp_path)
    [said] = caplog.messages
    assert said.startswith("the server is gone is gone")
    assert said.endswith(" ...; the run goes on, and metrics.jsonl has every step")
    assert len(said) < 320


def test_mlflow_without_a_server_says_so_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the extra mdpo[mlflow] is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = make_component("tracker", "mlflow", uri="http://127.0.0.1:9")
    assert isinstance(tracker, Tracker)
    with tracking([tracker], tmp_path):
        pass
    reason = "the tracker 'mlflow' got no answer from http://127.0.0.1:9: Connection refused"
    assert [said for said in caplog.messages if "mlflow" in said and "Retrying" not in said] == [
        f"{reason}; the run goes on, and metrics.jsonl has every step"
    ]
    assert failures_in(tmp_path) == {0: Failure(reason, started=False)}


def test_a_call_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    LOGS["log"] = log = Reading({"log": bad_call})
    tell_two_steps(tmp_path)
    assert log.told == ["log 1", "samples 1: a cat", "log 2", "close"]


def test_what_is_no_log_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LOGS["log"] = None
    tell_two_steps(tmp_path)
    assert "the tracker 'watching': start() must return a TrackerLog, with log() and close(); it" in caplog.text


def test_a_slow_tracker_is_waited_for_as_long_as_it_gets_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LOGS["log"] = log = Log({"log": lambda: time.sleep(0.1)})
    with tracking([Watching()], tmp_path) as told:
        for step in range(8):
            told.log(step, {})
    assert log.told[-1] == "close"
    assert not caplog.messages


def test_a_tracker_that_hangs_does_not_fill_the_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "_MOST_WAITING", 20)
    LOGS["log"] = Log({"log": FOREVER.wait})
    with tracking([Watching()], tmp_path) as told:
        for step in range(1000):
            told.log(step, {})
        assert all(thread._calls.qsize() <= 20 for thread in told._threads)
    (said,) = caplog.messages
    assert "does not keep up: 20 calls wait, and others are left out" in said


def test_an_error_of_the_run_passes_and_the_log_is_closed(tmp_path: Path) -> None:
    LOGS["log"] = log = Log({})
    with pytest.raises(ZeroDivisionError), tracking([Watching()], tmp_path):
        raise ZeroDivisionError
    assert log.told == ["close"]


def test_a_run_with_a_tracker_that_fails_in_every_call_is_complete(
    small: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    LOGS["log"] = Reading({"log": bad_call, "close": bad_exit})
    result = run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, "trackers=[{tracker: watching}]"]))
    assert result.final.is_dir()
    assert len(records(result.run_dir)) == 6
    assert len([said for said in caplog.messages if "tracker" in said]) == 1


class Refusing(Tracker):
    """Lacks its library."""

    def check(self) -> None:
        raise PluginError("the tracker 'refusing' needs paper: pip install 'mdpo[paper]'")

    def start(self, folder: Path) -> Any:
        raise AssertionError


def test_a_missing_library_is_refused_before_anything_is_written(small: list[str], tmp_path: Path) -> None:
    register("refusing", Refusing)
    recipe = load_recipe(RECIPES / "llava_mdpo.yaml", [*small, "trackers=[{tracker: refusing}]"])
    with pytest.raises(PluginError, match=r"needs paper: pip install 'mdpo\[paper\]'"):
        run(recipe, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


HANGING = """
import sys, threading
from mdpo_core.processes.end_signals import EndSignals
from mdpo_core.processes import end_signals
from mdpo_core.training import trackers
from mdpo_core import Tracker, register

class Hanging(Tracker):
    def start(self, folder):
        threading.Thread(target=threading.Event().wait, daemon=False).start()  # the interpreter waits for it
        threading.Event().wait()

register("hanging", Hanging)
trackers.PATIENCE = end_signals._LAST = 0.2
signals = EndSignals.install()
with trackers.tracking([Hanging()], "."):
    print("trained")
signals.finish(7)
sys.exit(7)
"""


def test_a_command_ends_although_a_tracker_and_its_threads_hang(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 7, done.stderr
    assert done.stdout == "trained\n"
    assert "hangs, and the run does not wait for it any longer" in done.stderr
