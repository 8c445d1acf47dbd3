"""Sample answers of real runs: written once, exact over a kill, and without any effect on the training."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import EVERY, begin, contents, kill, launch, records, wait_for_step
from support.runs import train

from mdpo_core import CheckpointError, RecipeError, load_recipe, run

EVALUATED = "evaluators=[{evaluator: samples, rows: 3, max_new_tokens: 5, every: 2}]"
HELD_OUT = "data.hold_out={rows: 4}"
MEASURED = ("pairs_per_second", "tokens_per_second", "data_wait", "memory", "tflops", "mfu")


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def told(folder: Path) -> str:
    """The log of the training, without what a clock decides."""
    lines = [line for line in records(folder) if "loss" in line]
    return json.dumps([{key: value for key, value in line.items() if not key.startswith(MEASURED)} for line in lines])


def test_answers_are_written_and_leave_the_training_as_it_was(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, HELD_OUT, "train.epochs=2", "model.lora.dropout=0.2"]
    with_samples = train([*words, EVALUATED], tmp_path / "with")
    without = train([*words, "evaluators=[]"], tmp_path / "without")
    assert told(with_samples) == told(without)
    assert contents(with_samples / "final") == contents(without / "final")
    found = samples(with_samples)
    assert [line["step"] for line in found] == [0, 0, 0, 2, 2, 2, 4, 4, 4]
    assert [line["id"] for line in found[:3]] == [line["id"] for line in found[3:6]]
    assert all(line["held_out"] and len(line["pictures"]) == 1 for line in found)
    assert all(line["prompt"] and line["chosen"] and line["rejected"] and line["words"] == [] for line in found)
    assert [line["step"] for line in records(with_samples) if "eval/samples/words" in line] == [0, 2, 4]
    assert not (without / "samples.jsonl").exists()


def test_rows_of_the_training_answer_where_none_are_held_out(changes: list[str], tmp_path: Path) -> None:
    found = samples(train([*changes, EVALUATED, "train.epochs=1"], tmp_path / "run"))
    assert {line["held_out"] for line in found} == {False}


def test_a_damaged_line_is_named_before_anything_is_computed(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, EVALUATED, "train.epochs=1"]
    folder = train(words, tmp_path / "run")
    with (folder / "samples.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(CheckpointError, match=r"samples\.jsonl:\d+: a run did not write this line"):
        run(load_recipe(LLAVA_MDPO, [*words, f"output.dir={folder}"]), resume=True)


def test_another_word_list_is_refused_on_resume_by_its_digest(changes: list[str], tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("green\nbrown\n")
    words = [*changes, EVALUATED.replace("rows: 3", f"rows: 1, words: {listed}"), "train.epochs=1"]
    folder = train(words, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["evaluators"] == {str(listed): hashlib.sha256(listed.read_bytes()).hexdigest()}
    listed.write_text("green\n")
    with pytest.raises(
        CheckpointError, match=rf"the file {re.escape(str(listed))}, which evaluators read, has changed"
    ):
        train([*words, "train.epochs=2"], folder, resume=True)
    listed.unlink()
    with pytest.raises(RecipeError, match="the file does not exist"):
        train([*words, "train.epochs=2"], folder, resume=True)


@pytest.mark.nightly(reason="test_goals.py kills a run that is measured; answers are written where numbers are")
def test_a_killed_run_leaves_the_answers_of_one_that_nothing_stopped(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, HELD_OUT, "train.epochs=3", "output.save_every=2", EVALUATED.replace("every: 2", "every: 1")]
    whole, folder = train(words, tmp_path / "whole"), tmp_path / "killed"
    for lines in (4, 8):  # an evaluation is a line, too
        with begin(words, folder, *(["--resume"] if folder.exists() else [])) as process:
            wait_for_step(process, folder, lines)
            kill(process.pid)
            process.communicate()
    train(words, folder, resume=True)
    assert (folder / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
    assert told(folder) == told(whole)


@pytest.mark.nightly(reason="test_probed_runs.py and test_held_out.py measure in two processes")
@pytest.mark.parametrize("backend", ["ddp", "fsdp", "zero_3"])
def test_two_processes_write_every_answer_once(backend: str, changes: list[str], tmp_path: Path) -> None:
    words, two = [*changes, HELD_OUT, "train.epochs=1", EVALUATED], tmp_path / "two"
    alone = train([*words, f"backend={EVERY['ddp']}"], tmp_path / "alone")
    finished = launch([*words, f"backend={EVERY[backend]}"], two, "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    first = [[line for line in samples(folder) if line["step"] == 0] for folder in (alone, two)]
    assert first[0] == first[1]
    assert [line["step"] for line in samples(two)] == [line["step"] for line in samples(alone)]
