"""Workers compute ahead in order, fail as the function does, and end with whoever began them."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import operator
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdpo_core import DataError, MdpoError, PluginError, Problem
from mdpo_core.errors import blame_on, fault_of_plugin
from mdpo_core.processes.portable_error import PortableError
from mdpo_core.processes.workers import Workers, computed_ahead


def square(number: int) -> int:
    return number * number


def many_tensors(number: int) -> list[Tensor]:
    return [torch.full((length,), number) for length in range(1000)]


def threads_and_signals(_: int) -> tuple[int, bool]:
    answered = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return torch.get_num_threads(), answered == [signal.SIG_IGN, signal.SIG_IGN]


PROBLEMS = [Problem("pairs.json row 3", "img_path", "the file does not exist"), Problem("", "", "and more")]


class Awkward(Exception):
    """Cannot be copied: its class wants two arguments and has one to give."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def fail(how: str) -> str:
    match how:
        case "data":
            raise DataError(PROBLEMS)
        case "bug":
            json.loads("{")
        case "awkward":
            raise Awkward("a fault", "a plugin")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stuck":
            time.sleep(1000)
    return how


def results(function: Callable[..., object], tasks: Iterable[object], num_workers: int) -> list[object]:
    with computed_ahead(function, tasks, num_workers) as found:
        return list(found)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", [0, 1, pytest.param(2, marks=pytest.mark.long)])
def test_results_come_in_the_order_of_their_tasks(num_workers: int) -> None:
    assert results(square, range(50), num_workers) == [number * number for number in range(50)]


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_tasks_are_taken_as_needed_and_results_may_be_left(num_workers: int) -> None:
    """Tasks are taken as they are needed, and nobody needs to take all results."""
    taken = []
    tasks = (taken.append(number) or number for number in itertools.count())  # type: ignore[func-returns-value]
    with computed_ahead(square, tasks, num_workers) as found:
        assert list(itertools.islice(found, 5)) == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 2 * num_workers


def test_no_task_is_no_result_and_no_process() -> None:
    assert results(square, [], 2) == []


def test_worker_has_one_thread_and_ignores_signals() -> None:
    """A worker has one thread and leaves signals to the main process."""
    assert results(threads_and_signals, [0], 1) == [(1, True)]


@contextmanager
def open_files_limited_to(number: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_thousand_tensors_need_few_open_files() -> None:
    with open_files_limited_to(200):
        for number, found in enumerate(results(many_tensors, range(9), 1)):
            assert isinstance(found, list)
            assert all(torch.equal(one, other) for one, other in zip(found, many_tensors(number), strict=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_user_s_mistake_is_the_same_error_from_a_worker(num_workers: int) -> None:
    with computed_ahead(fail, ["fine", "data", "fine"], num_workers) as found:
        assert next(found) == "fine"
        with pytest.raises(
            DataError, match=r"^pairs\.json row 3: img_path: the file does not exist\nand more$"
        ) as caught:
            next(found)
    assert caught.value.problems == tuple(PROBLEMS)
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is None


@pytest.mark.long
def test_unexpected_worker_error_keeps_type_and_shows_its_place() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        results(fail, ["bug"], 1)
    (note,) = caught.value.__notes__
    assert "in a worker process:" in note
    assert 'json.loads("{")' in note


def test_an_error_that_cannot_be_copied_is_told_in_another_one() -> None:
    with pytest.raises(RuntimeError, match=r"^Awkward: a fault in a plugin\n") as caught:
        results(fail, ["awkward"], 1)
    assert 'raise Awkward("a fault", "a plugin")' in caught.value.__notes__[0]


class Plugin:
    """Code of a plugin: of a module that is not mdpo's."""

    def __call__(self, how: str) -> object:
        with blame_on("the corruption 'crop'"):
            return fail(how)


@pytest.mark.parametrize(
    ("how", "what"),
    [("bug", "JSONDecodeError"), pytest.param("awkward", "RuntimeError: Awkward: a fault", marks=pytest.mark.long)],
)
def test_a_plugins_fault_in_a_worker_keeps_its_file_and_line(how: str, what: str) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        results(Plugin(), [how], 1)
    fault = fault_of_plugin(caught.value)
    assert fault is not None
    assert fault.startswith(f"the corruption 'crop' raised {what}")
    assert re.search(r" \(test_workers\.py:\d+\)$", fault)


def test_the_notes_of_an_error_travel_with_it_again_and_again() -> None:
    error: Exception = ValueError("mine")
    try:
        with blame_on("the tracker 'csv'"):
            json.loads("{")
    except ValueError as raised:
        error = raised
    once = pickle.loads(pickle.dumps(PortableError.of(error))).to_raise()
    twice = pickle.loads(pickle.dumps(PortableError.of(once))).to_raise()
    assert fault_of_plugin(error) == fault_of_plugin(once) == fault_of_plugin(twice)
    assert once.__notes__ == twice.__notes__


def test_a_worker_that_is_killed_is_an_error_that_says_so() -> None:
    with pytest.raises(MdpoError, match=r"a worker process \(train\.workers\) died, most often because it was killed"):
        results(fail, ["fine", "fine", "killed", "fine"], 1)


def process_of(_: int) -> int:
    return os.getpid()


@pytest.mark.long
def test_workers_are_kept_for_the_next_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Workers(2) as workers:
        found = []
        for function in (process_of, square, process_of):
            with workers.ahead(function, range(20)) as results:
                found.append(list(results))
        [folder] = tmp_path.iterdir()
        assert list(folder.iterdir()) == []
    assert found[1] == [number * number for number in range(20)]
    assert 1 <= len({*found[0], *found[2]}) <= 2
    assert list(tmp_path.iterdir()) == []


def test_results_that_were_left_are_not_those_of_the_next_function() -> None:
    with Workers(1) as workers:
        for start in range(3):
            with workers.ahead(partial(operator.add, start), range(100)) as results:
                assert [next(results), next(results)] == [start, start + 1]


@pytest.mark.long
def test_workers_are_kept_after_an_error() -> None:
    with Workers(1) as workers:
        for _ in range(2):
            with workers.ahead(fail, ["fine", "data", "fine"]) as results, pytest.raises(DataError):
                list(results)
        with workers.ahead(square, [3]) as results:
            assert list(results) == [9]


def test_unsendable_function_is_refused_with_what_would_work() -> None:
    with pytest.raises(PluginError, match=r"cannot be sent to worker processes: .*train\.workers: 0"):
        results(lambda number: number, [1], 1)


def test_a_worker_that_hangs_does_not_keep_a_run_from_ending() -> None:
    with computed_ahead(fail, ["fine", "stuck", "stuck"], 1) as found:
        assert next(found) == "fine"


# Programs of their own, to be killed and interrupted.
PROGRAM = """
import os, signal, sys, time
from mdpo_core.processes.stop_request import StopRequest
from mdpo_core.processes.workers import computed_ahead

def pid(number):
    time.sleep(0.02)
    return os.getpid()

if __name__ == "__main__":
    with StopRequest() as stop, computed_ahead(pid, range(200), 2) as found:
        if sys.argv[1] == "early":
            print("begun", flush=True)
        pids = [next(found) for _ in range(20)]
        print(*sorted(set(pids)), flush=True)
        while stop.signum is None:
            time.sleep(0.01)
        rest = list(found)
    print(len(pids) + len(rest), stop.signum, flush=True)
"""


@contextmanager
def program(folder: Path, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script in a process group of its own."""
    file = folder / "program.py"
    file.write_text(text)
    words = [sys.executable, str(file), *arguments]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.long
@pytest.mark.parametrize(("when", "signum"), [("early", signal.SIGINT), ("late", signal.SIGTERM)])
def test_group_signal_stops_no_worker_before_main_process_ends(
    when: str, signum: signal.Signals, tmp_path: Path
) -> None:
    with program(tmp_path, PROGRAM, when) as process:
        # Early, the workers have not begun to import; late, they have worked.
        line(process)
        os.killpg(process.pid, signum)
        out, err = process.communicate(timeout=100)
    assert out.splitlines()[-1] == f"200 {int(signum)}"
    assert process.returncode == 0
    [said] = err.splitlines()  # of the main process alone
    assert said.startswith("finishing this step, then saving; ")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_no_worker_outlives_a_main_process_that_was_killed(tmp_path: Path) -> None:
    with program(tmp_path, PROGRAM, "late") as process:
        pids = [int(word) for word in line(process).split()]
        assert pids
        assert all(map(is_alive, pids))
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while any(map(is_alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_alive, pids))


@pytest.mark.long
def test_unguarded_script_is_told_to_use_a_main_guard(tmp_path: Path) -> None:
    """A script that its workers would run again is told what to write."""
    text = "from mdpo_core.processes.workers import computed_ahead\n"
    text += "with computed_ahead(abs, [1], 1) as found: print(list(found))"
    with program(tmp_path, text) as process:
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (1, "")
    assert 'must call run() under `if __name__ == "__main__":`' in err.splitlines()[-1]
