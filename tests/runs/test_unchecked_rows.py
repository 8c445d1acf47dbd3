"""Rows that were not all checked before training: sound ones train as ever, a bad one stops the run or is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.effort import nightly_but
from support.paths import LLAVA_MDPO
from support.processes.launching import contents
from support.runs import train

from mdpo_core import DataError, RecipeError, load_recipe
from mdpo_core.data.checking import chosen_rows
from mdpo_core.data.pictures import images
from mdpo_core.data.reading import read_data
from mdpo_core.training import reference_pass
from runs.test_checked_once import killed_after, logged


@pytest.fixture
def changes(changes: list[str]) -> list[str]:
    """Those of a small run whose reference scores beside the policy."""
    return [*changes, "reference=auto"]


def with_bad_row(changes: list[str], pairs: Path, folder: Path, *rows: int) -> list[str]:
    """The changes of a run over a copy of the pairs in which some rows have an empty answer."""
    copy = json.loads(pairs.read_text())
    for row in rows:
        copy[row]["chosen"] = " "
    file = folder / "rows.json"
    file.write_text(json.dumps(copy))
    return [*changes, f"data.path={file}"]


@pytest.mark.long
@pytest.mark.parametrize("check", ["0.5", "none"])
def test_sound_rows_train_as_if_all_were_checked(check: str, changes: list[str], tmp_path: Path) -> None:
    """Without dropout: unknown lengths change the order in a step, and with it what dropout draws."""
    changes = [*changes, "train.micro_batch_size=1", "train.epochs=1", "model.lora.dropout=0"]
    whole = train(changes, tmp_path / "all")
    part = train([*changes, f"data.check={check}"], tmp_path / "part")
    one, other = (json.loads((run / "manifest.json").read_text())["data"] for run in (whole, part))
    assert (one["rows"], one["quarantined"]) == (other["rows"], other["quarantined"])
    assert contents(whole / "final").keys() == contents(part / "final").keys()
    assert [step["loss"] for step in steps(part)] == pytest.approx([step["loss"] for step in steps(whole)], abs=1e-4)


def steps(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("workers", nightly_but([0], [0, 1], "workers hand on a bad row in test_workers.py, too"))
def test_a_bad_row_stops_the_run_with_a_checkpoint_and_goes_on_once_mended(
    workers: int, changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    changes = with_bad_row([*changes, "data.check=none", f"train.workers={workers}"], pairs, tmp_path, 6)
    with pytest.raises(DataError) as caught:
        train(changes, tmp_path / "run")
    message = str(caught.value)
    assert f"{tmp_path / 'rows.json'} row 7: the response 'chosen' is empty" in message
    assert "continue with resume=True, or find all bad rows with data.check: all" in message
    saved = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert len(saved) <= 1
    if saved:
        assert f"a checkpoint of step {int(saved[0].name[5:])} is saved" in message
    with_bad_row([], pairs, tmp_path)
    assert steps(train(changes, tmp_path / "run", resume=True))[-1]["step"] == 6


@pytest.mark.parametrize("check", ["0.5", pytest.param("none", marks=pytest.mark.long)])
def test_a_killed_run_with_a_bad_row_in_quarantine_resumes_to_the_byte(
    check: str, changes: list[str], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = with_bad_row([*changes, "data.bad_rows=quarantine", f"data.check={check}"], pairs, tmp_path, 4, 6)
    whole = train(changes, tmp_path / "whole")
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(changes, tmp_path / "killed")
    killed = train(changes, tmp_path / "killed", resume=True)
    assert contents(killed / "final") == contents(whole / "final")
    assert logged(killed) == logged(whole)
    assert (killed / "quarantine.jsonl").read_bytes() == (whole / "quarantine.jsonl").read_bytes()
    listed = [json.loads(line) for line in (whole / "quarantine.jsonl").read_text().splitlines()]
    assert [each["row"] for each in listed] == [5, 7]


@pytest.mark.long
def test_a_micro_batch_of_bad_rows_alone_has_no_weight(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    changes = [*changes, "data.bad_rows=quarantine", "train.micro_batch_size=1", "train.epochs=1"]
    changes = with_bad_row(changes, pairs, tmp_path, 6)
    assert steps(train([*changes, "data.check=none"], tmp_path / "run"))[-1]["step"] == 3


@pytest.mark.long
def test_more_bad_rows_than_may_be_stop_the_run(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    changes = with_bad_row([*changes, "data.check=none"], pairs, tmp_path, 3, 4, 6)
    with pytest.raises(DataError, match=r"bad, more than \{quarantine: 0.1\} allows; mend them, or raise it"):
        train([*changes, "data.bad_rows={quarantine: 0.1}"], tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    train([*changes, "data.bad_rows={quarantine: 0.3}", "train.epochs=1"], tmp_path / "run")


def test_a_bad_row_stops_the_caching_of_the_reference_which_goes_on_once_mended(
    changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    changes = with_bad_row([*changes, "data.check=none", "reference=cached"], pairs, tmp_path, 6)
    with pytest.raises(DataError) as caught:
        train(changes, tmp_path / "run")
    message = str(caught.value)
    assert f"{tmp_path / 'rows.json'} row 7: the response 'chosen' is empty" in message
    assert "no step is lost. data.check left these rows unchecked; mend them and continue with resume=True" in message
    assert not (tmp_path / "run" / "checkpoints").exists()
    with_bad_row([], pairs, tmp_path)
    assert steps(train(changes, tmp_path / "run", resume=True))[-1]["step"] == 6


@pytest.mark.long
@pytest.mark.parametrize("rows", [[4, 6], [4, 5, 6, 7, 8]])
def test_a_cached_reference_leaves_bad_rows_out_and_resumes_to_the_byte(
    rows: list[int], changes: list[str], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of two rows, of which one has no sound row, in both runs; the killed one ends after three steps."""
    monkeypatch.setattr(reference_pass, "SHARD_ROWS", 2)
    more = ["data.bad_rows=quarantine", "data.check=none", "reference=cached"]
    changes = with_bad_row([*changes, *more], pairs, tmp_path, *rows)
    whole = train(changes, tmp_path / "whole")
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(changes, tmp_path / "killed")
    killed = train(changes, tmp_path / "killed", resume=True)
    assert contents(killed / "final") == contents(whole / "final")
    assert logged(killed) == logged(whole)
    assert (killed / "quarantine.jsonl").read_bytes() == (whole / "quarantine.jsonl").read_bytes()
    listed = [json.loads(line) for line in (whole / "quarantine.jsonl").read_text().splitlines()]
    assert [each["row"] - 1 for each in listed] == rows


@pytest.mark.long
def test_more_bad_rows_than_may_be_stop_the_caching(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    changes = with_bad_row([*changes, "data.check=none", "reference=cached"], pairs, tmp_path, 3, 4, 6)
    with pytest.raises(DataError, match=r"bad, more than \{quarantine: 0.1\} allows(.|\n)*no step is lost"):
        train([*changes, "data.bad_rows={quarantine: 0.1}"], tmp_path / "run")


@pytest.mark.parametrize(
    ("bad", "more"),
    [
        *(([*range(count)], []) for count in (2, 3, 8)),
        ([0, 1, 2], ["data.hold_out={rows: 2, seed: 4}"]),
    ],
)
def test_a_run_begins_with_two_sound_rows(
    bad: list[int], more: list[str], changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    words = [*changes, "data.check=none", "data.bad_rows=quarantine", *more, f"output.dir={tmp_path / 'run'}"]
    checked, builder = read_data(load_recipe(LLAVA_MDPO, with_bad_row(words, pairs, tmp_path, *bad)))
    assert not {*bad} & {*checked.rows[:2]}
    builder.build(checked.valid_examples(), range(min(2, len(checked.rows))), epoch=0)


HELD = "data.hold_out={rows: 3}"


def counting(function: Any, calls: list[int]) -> Any:
    """The function, which notes in ``calls`` that it was called."""

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return function(*arguments)

    return counted


@pytest.mark.parametrize("check", ["none", "0.5"])
def test_rows_are_held_out_as_if_all_were_checked_and_no_other_picture_is_decoded(
    check: str, changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = []
    for number, which in enumerate(("all", check)):
        decoded: list[int] = []
        with monkeypatch.context() as patch:
            patch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
            patch.setattr(images, "_decoded", counting(images._decoded, decoded))
            recipe = load_recipe(LLAVA_MDPO, [*changes, HELD, f"data.check={which}", f"output.dir={tmp_path / which}"])
            checked, _ = read_data(recipe)
        assert checked.held_out is not None
        assert len(checked.held_out.rows) == 3
        split.append((checked.rows, checked.held_out.rows))
        counts = len(decoded)
        assert counts >= 10 if number == 0 else counts <= (3 + 2 + 5) + 2  # and two rows that are encoded once more
    assert split[0] == split[1]


def test_held_out_rows_are_all_checked(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    words = [*changes, HELD, "data.check=none", f"output.dir={tmp_path / 'run'}"]
    checked, _ = read_data(load_recipe(LLAVA_MDPO, words))
    assert checked.held_out is not None
    bad, other = checked.held_out.rows[1], checked.rows[5]
    with pytest.raises(DataError, match=f"row {bad + 1}: the response 'chosen' is empty"):
        read_data(load_recipe(LLAVA_MDPO, with_bad_row(words, pairs, tmp_path, bad, other)))
    words += ["data.bad_rows=quarantine"]
    again, _ = read_data(load_recipe(LLAVA_MDPO, with_bad_row(words, pairs, tmp_path, bad, other)))
    assert again.held_out is not None
    assert again.held_out.rows == [row for row in checked.held_out.rows if row != bad]
    assert again.rows == checked.rows


@pytest.mark.long
def test_a_killed_run_with_held_out_rows_and_bad_ones_resumes_to_the_byte(
    changes: list[str], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["data.bad_rows={quarantine: 0.5}", "data.check=0.2", HELD, "reference=cached"]
    more += ["evaluators=[{evaluator: preference, every: 1}]"]
    changes = with_bad_row([*changes, *more], pairs, tmp_path, 4, 6)
    whole = train(changes, tmp_path / "whole")
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(changes, tmp_path / "killed")
    killed = train(changes, tmp_path / "killed", resume=True)
    assert contents(killed / "final") == contents(whole / "final")
    assert logged(killed) == logged(whole)
    assert (killed / "quarantine.jsonl").read_bytes() == (whole / "quarantine.jsonl").read_bytes()


def test_chosen_rows_are_the_first_two_and_a_share() -> None:
    assert chosen_rows("all", 10) is None
    assert chosen_rows("none", 10) == [0, 1]
    assert chosen_rows("none", 1) == [0]
    some = chosen_rows(0.1, 1000)
    assert some is not None
    assert 100 <= len(some) <= 102
    assert some == chosen_rows(0.1, 1000)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("data.duplicates=quarantine", "duplicates: quarantine keeps the first sound row .* so all must be checked"),
        ("data.check=2", "data.check"),
        ("data.check=some", "data.check"),
        ("data.check=0", "data.check"),
    ],
)
def test_what_needs_all_rows_is_refused(more: str, said: str, changes: list[str]) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(LLAVA_MDPO, [*changes, "data.check=0.5", more])
