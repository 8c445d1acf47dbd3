"""A copy of the tree in which mutants are tested: the tree that a person works in is never changed."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

OPTIONS = (
    *("-x", "-q", "-rfE", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"),
    *("-m", "not long and not nightly and not gpu", "--hypothesis-profile=mutants"),
)
# A test that starts processes needs some seconds more on a busy machine.
SHORTEST_LIMIT = 20.0


class Sandbox:
    """A copy of the files that git lists, and what is needed to run tests there.

    Each run of tests is a process forked from this one. This one has imported torch and all else that the tests need,
    which takes 10 seconds, but no module of the tree: the fork imports those, so a mutant is a changed file.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.tree = folder / "tree"
        self._log = folder / "log.txt"
        self._imported = folder / "imported.txt"
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.check_output(listing, cwd=root, text=True).splitlines():
            if (root / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, self.tree / name)
        _prepare_environment(self.tree, folder)

    def seconds_of(self, test: str) -> float:
        """How long a test file takes without a mutant; exits with its report if it fails."""
        start = time.monotonic()
        status = self._run(test, limit=float("inf"))
        if status != 0:
            sys.exit(f"{test} fails without a mutant (exit status {status}):\n{self._log.read_text()}")
        self._import_what_tests_imported()
        return time.monotonic() - start

    def caught_by(self, file: str, source: str, test: str, limit: float) -> str | None:
        """What noticed that ``file`` has another source: a test's name, or "timeout"; None if nothing did."""
        with self._changed(self.tree / file, source):
            status = self._run(test, limit)
        if status == 0:
            return None
        return "timeout" if status is None else self._first_failure()

    @contextlib.contextmanager
    def _changed(self, path: Path, source: str) -> Iterator[None]:
        original = path.read_text()
        # Python tells an outdated cache by its second, which two mutants may share.
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        path.write_text(source)
        try:
            yield
        finally:
            path.write_text(original)

    def _run(self, test: str, limit: float) -> int | None:
        """The exit status of pytest; None if it took longer than ``limit`` seconds."""
        # Forked while this process has one thread: a lock that another thread held would stay locked in the child.
        child = os.fork()
        if child == 0:
            self._test(test)
        return _exit_status(child, limit)

    def _test(self, test: str) -> NoReturn:
        try:
            os.setsid()
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.tree)
            status = int(pytest.main([*OPTIONS, test]))
            sys.stdout.flush()
            self._imported.write_text("\n".join(_installed_modules()))
        except BaseException as error:
            os.write(2, f"FAILED to run the tests: {error!r}\n".encode())
            os._exit(70)
        os._exit(status)

    def _import_what_tests_imported(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in self._imported.read_text().splitlines():
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)

    def _first_failure(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        failures = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
        return failures[0].split(" - ")[0].split(" ", 1)[1] if failures else "an error outside the tests"


def _prepare_environment(tree: Path, folder: Path) -> None:
    paths = [str(tree), str(tree / "plugins")]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    os.environ["HF_HOME"] = str(folder / "huggingface")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    import hypothesis

    # No failing example is stored, nor made smaller: only whether a test fails counts.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", deadline=None, database=None, derandomize=True, phases=phases)


def _installed_modules() -> list[str]:
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if file and "site-packages" in file]


def _exit_status(child: int, limit: float) -> int | None:
    """Waits for a process; after ``limit`` seconds ends it, and all that it started."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
