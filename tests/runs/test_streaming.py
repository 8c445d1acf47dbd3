"""A run on a stream: its rows, and that a stopped one resumes to the bit."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import begin, command, contents, launch, records, wait_for_step
from support.runs import stop_after

from mdpo_core import DataError, RecipeError, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.training import trainer


@pytest.fixture
def streamed(changes: list[str], pairs: Path, tmp_path: Path) -> list[str]:
    """Ten rows in blocks of six and four: steps of 4, 2 and 4 pairs, seven in all."""
    rows = json.loads(pairs.read_text())
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = [change for change in changes if not change.startswith(("data.path", "train.epochs"))]
    more = [f"data.path={file}", "data.streaming=true", "data.shuffle_buffer=6", "train.max_steps=7"]
    return [*kept, *more, "reference=adapter_off", "output.save_every=1", "output.keep=20"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of the rows of each micro-batch that a run in this process trains on."""
    found: list[list[str]] = []
    forward = trainer.Trainer._micro_step

    def noted(self: trainer.Trainer, *arguments: Any) -> None:
        found.append(list(arguments[-1].ids))
        forward(self, *arguments)

    monkeypatch.setattr(trainer.Trainer, "_micro_step", noted)
    return found


def test_every_row_of_a_pass_is_drawn_once_in_an_order_of_its_own(
    streamed: list[str], tmp_path: Path, drawn: list[list[str]]
) -> None:
    folder = run(load_recipe(LLAVA_MDPO, streamed), run_dir=tmp_path / "run").run_dir
    lines = records(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert [line["epoch"] for line in lines] == [0, 0, 0, 1, 1, 1, 2]
    ids = [int(each) for micro_batch in drawn for each in micro_batch]
    passes = [ids[:10], ids[10:20], ids[20:]]
    for rows in passes[:2]:
        assert sorted(rows[:6]) == [1, 2, 3, 4, 5, 6]
        assert sorted(rows[6:]) == [7, 8, 9, 10]
    assert passes[0] != passes[1]
    assert len(passes[2]) == 4


@pytest.mark.parametrize(
    ("workers", "stops"),
    [
        pytest.param(0, [1, 2, 3, 4, 5, 6], marks=pytest.mark.long),
        pytest.param(1, [2], marks=pytest.mark.nightly(reason="test_resume.py stops a run with workers")),
    ],
)
def test_a_stopped_stream_resumes_to_the_bit(
    workers: int, stops: list[int], streamed: list[str], tmp_path: Path
) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*streamed, f"train.workers={workers}"])
    whole = run(load_recipe(LLAVA_MDPO, streamed), run_dir=tmp_path / "whole").run_dir
    for step in stops:  # inside blocks and at their ends
        folder = tmp_path / f"stopped-{step}"
        stop_after(step, recipe, folder)
        run(recipe, run_dir=folder, resume=True)
        assert contents(folder / "final") == contents(whole / "final")
        assert [line["loss"] for line in records(folder)] == [line["loss"] for line in records(whole)]


@pytest.mark.long
def test_a_killed_stream_resumes_to_the_bit(streamed: list[str], tmp_path: Path) -> None:
    every_other = [*streamed, "output.save_every=2"]
    whole = run(load_recipe(LLAVA_MDPO, every_other), run_dir=tmp_path / "whole").run_dir
    folder = tmp_path / "killed"
    process = begin(every_other, folder)
    wait_for_step(process, folder, 5)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    run(load_recipe(LLAVA_MDPO, every_other), run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")


@pytest.mark.long
def test_two_processes_train_on_a_stream_as_one_does(streamed: list[str], tmp_path: Path) -> None:
    full = [*streamed, "model.lora.dropout=0.0"]
    run(load_recipe(LLAVA_MDPO, full), run_dir=tmp_path / "one")
    finished = launch(full, tmp_path / "two", "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    losses = [[line["loss"] for line in records(tmp_path / name)] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


# Reads ten rows, and fails in one of two processes.
PLUGIN = """
import os

from mdpo_core import DataError, Problem, RowStream, hookimpl
from mdpo_readers.pairs import Pairs


class Stream(RowStream):
    def __init__(self, stream):
        self.stream = stream

    def blocks(self, state=None):
        for block in self.stream.blocks(state):
            if block.number == 2 and os.environ["RANK"] == "1" and os.environ["FAULT"] == "data":
                raise DataError([Problem("rows.jsonl", "", "cannot be read")])
            if block.number == 2 and os.environ["RANK"] == "1" and os.environ["FAULT"] == "code":
                raise KeyError("shard")
            yield block


class Fragile(Pairs):
    def stream(self):
        return Stream(super().stream())


@hookimpl
def mdpo_components():
    return {"fragile": Fragile}
"""


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        pytest.param(
            "data", 2, "process 1: rows.jsonl: cannot be read\na checkpoint of step 3 is saved.", marks=pytest.mark.long
        ),
        pytest.param(
            "code",
            2,
            "the reader 'fragile', which streams rows, raised KeyError: 'shard' (mdpo_fragile.py:",
            marks=pytest.mark.nightly(reason="one process tells of a fault in the code, too"),
        ),
    ],
)
def test_all_processes_end_soon_if_one_of_them_cannot_read_the_stream(
    fault: str, code: int, message: str, streamed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mdpo_fragile.py").write_text(PLUGIN)
    about = tmp_path / "mdpo_fragile-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mdpo-fragile\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[mdpo]\nfragile = mdpo_fragile\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]), "FAULT": fault}
    words = command([*streamed, "data.reader=fragile"], "--run-dir", str(tmp_path / "run"), "--processes", "2")
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count(message) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert [line["step"] for line in records(tmp_path / "run")] == [1, 2, 3]


def spoil(changes: list[str], *numbers: int) -> Path:
    """Empty the chosen answers of these rows, counted from 1, in the file of the stream."""
    [path] = [Path(each.removeprefix("data.path=")) for each in changes if each.startswith("data.path=")]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number in numbers:
        rows[number - 1]["chosen"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_bad_row_of_a_later_block_stops_the_run_with_a_checkpoint(streamed: list[str], tmp_path: Path) -> None:
    recipe, folder = load_recipe(LLAVA_MDPO, streamed), tmp_path / "run"
    whole = run(recipe, run_dir=tmp_path / "whole").run_dir
    [path] = [Path(each.removeprefix("data.path=")) for each in streamed if each.startswith("data.path=")]
    sound = path.read_text()
    spoil(streamed, 8)
    message = r"rows\.jsonl row 8: .*is empty(.|\n)*a checkpoint of step 2 is saved.*data.bad_rows: quarantine"
    with pytest.raises(DataError, match=message):
        run(recipe, run_dir=folder)
    assert [line["step"] for line in records(folder)] == [1, 2]
    path.write_text(sound)
    run(recipe, run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")


@pytest.mark.long
def test_a_strength_of_a_stream_is_that_of_its_row(streamed: list[str], tmp_path: Path, drawn: list[list[str]]) -> None:
    """A row's weight is its number, and that of the eighth row is none: it is in the second block."""
    [path] = [Path(each.removeprefix("data.path=")) for each in streamed if each.startswith("data.path=")]
    rows = [{**json.loads(line), "worth": number} for number, line in enumerate(path.read_text().splitlines(), 1)]
    rows[7]["worth"] = -8
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [*streamed, "data.columns=[worth]", "objective=[{loss: dpo, label: text, weight: {column: worth}}]"]
    with pytest.raises(DataError, match=r"row 8(.|\n)*'weight' must be .*at least 0, found worth = -8(.|\n)*step 2 is"):
        run(load_recipe(LLAVA_MDPO, words), run_dir=tmp_path / "run")
    first = [int(row) for micro_batch in drawn for row in micro_batch][:4]
    assert records(tmp_path / "run")[0]["loss"] == pytest.approx(math.log(2) * sum(first) / 4, rel=1e-4)


@pytest.mark.long
def test_bad_rows_of_all_blocks_are_listed_once_and_after_a_resume(streamed: list[str], tmp_path: Path) -> None:
    spoil(streamed, 2, 8)
    recipe = load_recipe(LLAVA_MDPO, [*streamed, "data.bad_rows=quarantine"])
    whole = run(recipe, run_dir=tmp_path / "whole").run_dir
    listed = [json.loads(line) for line in (whole / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in listed] == [2, 8]
    folder = tmp_path / "stopped"
    stop_after(5, recipe, folder)
    run(recipe, run_dir=folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")
    assert (folder / "quarantine.jsonl").read_bytes() == (whole / "quarantine.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.max_steps=null", "the run needs train.max_steps"),
        ("data.hold_out={share: 0.2}", "rows of a stream cannot be held out"),
        (
            "data.duplicates=quarantine",
            "data.duplicates: a stream never has all rows at once, so equal ones are not found",
        ),
        ("validation={reader: pairs, path: x.jsonl, streaming: true}", "all rows of validation are measured"),
        ("reference=cached", "'cached' scores every row before training, but a stream has no last row"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(change: str, message: str, streamed: list[str]) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(LLAVA_MDPO, [*streamed, change])


@pytest.mark.parametrize(("max_steps", "steps"), [(2, 2), pytest.param(5, 5, marks=pytest.mark.long)])
def test_rows_that_are_no_stream_take_so_many_steps_too(
    max_steps: int, steps: int, changes: list[str], tmp_path: Path
) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*changes, f"train.max_steps={max_steps}"])
    assert len(records(run(recipe, run_dir=tmp_path / "run").run_dir)) == steps


def test_a_check_says_that_it_saw_the_first_buffer_alone(
    streamed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for change in streamed for word in ("--set", change)]
    assert main(["check", str(LLAVA_MDPO), "--data", *words]) == 0
    assert "6 rows, 0 in quarantine (the first buffer of a stream; other rows are checked" in capsys.readouterr().out
    without = [word for change in streamed if "max_steps" not in change for word in ("--set", change)]
    assert main(["check", str(LLAVA_MDPO), *without]) == 2
