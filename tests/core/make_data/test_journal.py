"""A command that is stopped at any moment goes on, and what it ends with is the same."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdpo_core.errors import CheckpointError, MdpoError
from mdpo_core.make_data.journal import Journal
from mdpo_core.processes.stop_request import RunStopped

ROWS = [0, 2, 3, 5, 8, 9, 12]
KEY = {"command": "test", "model": {"config.json": "abc"}, "seed": 0}


def journal(folder: Path, at_once: int = 3, **key: Any) -> Journal:
    return Journal(folder / "pairs.jsonl", KEY | key, ROWS, at_once)


def fill(
    journal: Journal,
    compute: Callable[[Sequence[int]], list[dict[str, Any]]],
    progress: Callable[[int, int], object],
) -> list[dict[str, Any]]:
    with journal.filled(compute, progress) as entries:
        assert entries is not None
        return entries


def nothing(done: int, total: int) -> None:
    return


class Compute:
    """What is found of a row depends on those that it is computed with, as rounding does."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def __call__(self, places: Sequence[int]) -> list[dict[str, Any]]:
        self.places += places
        return [{"answer": f"é {place} with {list(places)}"} for place in places]


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(0, 400))
def test_journal_resumed_after_any_kill_equals_an_unstopped_one(
    tmp_path_factory: pytest.TempPathFactory, at_once: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    whole = journal(folder, at_once)
    expected = fill(whole, Compute(), nothing)
    content = whole.partial.read_bytes()
    whole.partial.write_bytes(content[:size])
    compute = Compute()
    assert fill(whole, compute, nothing) == expected
    assert whole.partial.read_bytes() == content
    kept = content[:size].count(b"\n")
    assert len(compute.places) <= len(ROWS) - kept + at_once - 1


def test_a_wish_to_stop_is_granted_between_rows_and_keeps_them(tmp_path: Path) -> None:
    class Stopped(Compute):
        def __call__(self, places: Sequence[int]) -> list[dict[str, Any]]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(places)

    with pytest.raises(RunStopped, match="3 of 7 rows are kept") as caught:
        fill(journal(tmp_path), Stopped(), nothing)
    assert caught.value.signum == signal.SIGTERM
    compute, seen = Compute(), []
    fill(journal(tmp_path), compute, lambda done, total: seen.append((done, total)))
    assert compute.places == [3, 4, 5, 6]
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    fill(journal(tmp_path), Compute(), nothing)
    with pytest.raises(CheckpointError, match=r"other settings; choose .*out=FILE.*\n  seed: 0 there, 1 here"):
        journal(tmp_path, seed=1).is_finished()
    assert not journal(tmp_path).is_finished()


@pytest.mark.parametrize("finished", [False, True])
def test_journal_with_renamed_setting_is_refused_with_advice(tmp_path: Path, finished: bool) -> None:
    """A journal from before a setting was renamed is refused with what to do, and stays as it is."""
    old = Journal(tmp_path / "pairs.jsonl", KEY | {"under": "clean"}, ROWS, 3)  # what ``condition`` was called
    fill(old, Compute(), nothing)
    if finished:
        old.out.write_text("{}\n")
        old.close()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    new = journal(tmp_path, condition="clean")
    with pytest.raises(CheckpointError) as caught:
        new.is_finished()
    files = "pairs.jsonl and" if finished else "pairs.jsonl.partial and"
    assert str(caught.value) == (
        f"{new.out} was written or begun with other settings; the names of the settings differ, so they come from "
        f"another version of mdpo; choose another file with out=FILE, or remove {files} pairs.jsonl.settings.json to "
        "start again\n"
        "  condition: 'absent' there, 'clean' here\n"
        "  under: 'clean' there, 'absent' here"
    )
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    for name in before:
        (tmp_path / name).unlink()
    assert len(fill(new, Compute(), nothing)) == len(ROWS)


@pytest.mark.parametrize("found", [b"", b'{"row": 1, "answer": "cut o', b'{"row": 1, "problem": "it is empty"}\n'])
def test_journal_without_usable_entries_takes_other_settings(tmp_path: Path, found: bytes) -> None:
    """Other settings are taken where nothing was found that could be written."""

    def fail(places: Sequence[int]) -> list[dict[str, Any]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill(journal(tmp_path), fail, nothing)
    journal(tmp_path).partial.write_bytes(found)
    other = journal(tmp_path, seed=1)
    assert not other.is_finished()
    assert not other.is_begun()
    assert [entry["row"] for entry in fill(other, Compute(), nothing)] == [row + 1 for row in ROWS]
    assert json.loads(other.settings.read_text()) == KEY | {"seed": 1}
    with pytest.raises(CheckpointError, match="seed: 1 there, 0 here"):
        journal(tmp_path).is_finished()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_file_system_without_locks_keeps_a_journal_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert len(fill(journal(tmp_path), Compute(), nothing)) == len(ROWS)


def test_command_with_other_settings_leaves_a_running_one_alone(tmp_path: Path) -> None:
    class Other(Compute):
        def __call__(self, places: Sequence[int]) -> list[dict[str, Any]]:
            if not self.places:
                assert not journal(tmp_path, seed=1).is_finished()  # nothing was found yet
            with pytest.raises(MdpoError, match="another process is writing"):
                fill(journal(tmp_path, seed=1), Compute(), nothing)
            return super().__call__(places)

    assert len(fill(journal(tmp_path), Other(), nothing)) == len(ROWS)
    content = journal(tmp_path).partial.read_bytes()
    with pytest.raises(CheckpointError, match="other settings"):
        fill(journal(tmp_path, seed=1), Compute(), nothing)
    assert journal(tmp_path).partial.read_bytes() == content
    assert json.loads(journal(tmp_path).settings.read_text()) == KEY


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.partial"])
def test_a_file_of_somebody_else_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=r"already exists, but pairs.jsonl.settings.json, which records"):
        journal(tmp_path).is_finished()
    assert (tmp_path / name).read_text() == "mine"


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    journal(tmp_path).settings.write_text("{")
    with pytest.raises(CheckpointError, match=r"settings.json is damaged"):
        journal(tmp_path).is_finished()


def test_a_line_that_was_altered_is_named(tmp_path: Path) -> None:
    fill(journal(tmp_path), Compute(), nothing)
    lines = journal(tmp_path).partial.read_text().splitlines(keepends=True)
    journal(tmp_path).partial.write_text("".join([lines[1], *lines[1:]]))
    with pytest.raises(CheckpointError, match=r"pairs.jsonl.partial:1: the command did not write this line"):
        fill(journal(tmp_path), Compute(), nothing)


def test_two_commands_at_once_are_one_too_many(tmp_path: Path) -> None:
    class Second(Compute):
        def __call__(self, places: Sequence[int]) -> list[dict[str, Any]]:
            with pytest.raises(MdpoError, match="another process is writing"):
                fill(journal(tmp_path), Compute(), nothing)
            return super().__call__(places)

    assert len(fill(journal(tmp_path), Second(), nothing)) == len(ROWS)


def test_lines_name_the_rows_of_the_data_from_1(tmp_path: Path) -> None:
    fill(journal(tmp_path), Compute(), nothing)
    lines = [json.loads(line) for line in journal(tmp_path).partial.read_text().splitlines()]
    assert [line["row"] for line in lines] == [row + 1 for row in ROWS]


def test_a_file_that_was_written_meanwhile_is_not_written_again(tmp_path: Path) -> None:
    """Another process may write the file after the question whether it is there."""
    assert not journal(tmp_path).is_finished()
    fill(journal(tmp_path), Compute(), nothing)
    journal(tmp_path).out.write_text("{}\n")
    journal(tmp_path).close()
    compute = Compute()
    with journal(tmp_path).filled(compute, nothing) as entries:
        assert entries is None
    assert compute.places == []


def test_a_journal_is_held_until_its_context_ends(tmp_path: Path) -> None:
    with journal(tmp_path).filled(Compute(), nothing) as entries:
        assert entries is not None
        with pytest.raises(MdpoError, match="another process is writing"):
            fill(journal(tmp_path), Compute(), nothing)
    assert fill(journal(tmp_path), Compute(), nothing) == entries
