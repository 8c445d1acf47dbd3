"""A run of a mixture with held-out rows and metrics by source, killed and resumed: equal to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import begin, contents, kill, launch, records, wait_for_step
from support.runs import train

from mdpo_core import load_recipe
from mdpo_core.data.reading import read_data

# What a clock or a machine decides.
MEASURED = ("pairs_per_second", "tokens_per_second", "data_wait", "memory", "tflops", "mfu")
SPLIT = {"hold_out": {"rows": 4, "seed": 3}}


def words_of(
    changes: list[str], pairs: Path, photographs: Path, folder: Path, validation: bool, reference: str
) -> list[str]:
    """Sixteen rows of three sources, one of them twice; four rows are held out, or two rows are read apart."""
    rows = json.loads(pairs.read_text())
    sources = {}
    for name, part, more in (("a", rows[:6], {}), ("b", rows[6:8], {"times": 2}), ("c", rows[4:], {})):
        (folder / f"{name}.json").write_text(json.dumps(part))
        reader = {"reader": "pairs", "path": str(folder / f"{name}.json"), "images": str(photographs)}
        sources[name] = {**reader, **more}
    mixture = {"reader": "mixture", "sources": sources}
    kept = [change for change in changes if not change.startswith("data.")]
    return [
        *kept,
        f"data={json.dumps(mixture if validation else {**mixture, **SPLIT})}",
        *([f"validation={json.dumps({'reader': 'mixture', 'sources': {'v': sources['b']}})}"] if validation else []),
        f"reference={reference}",
        "train.metrics_by_source=true",
        "evaluators=[{evaluator: preference, every: 1, by_source: true}]",
        "corruptions.crop.draw=epoch",
        "train.epochs=3",
        "output.save_every=1",
    ]


def told(folder: Path) -> list[dict[str, float]]:
    """All lines of the log, without what was measured of the machine; an evaluation is told once."""
    return [{name: value for name, value in line.items() if not name.startswith(MEASURED)} for line in records(folder)]


HELD_OUT, READ_APART = (False, "cached"), (True, "adapter_off")


@pytest.mark.parametrize(
    ("validation", "reference"),
    [
        pytest.param(*HELD_OUT, marks=pytest.mark.nightly(reason="test_goals.py kills measured runs, too")),
        pytest.param(*READ_APART, marks=pytest.mark.nightly(reason="as held-out rows, which are drawn, too")),
    ],
)
def test_a_killed_run_ends_with_the_bytes_of_one_that_nothing_stopped(
    validation: bool, reference: str, changes: list[str], pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    words = words_of(changes, pairs, photographs, tmp_path, validation, reference)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    finished = launch(words, whole, PYTHONHASHSEED="1")
    assert finished.returncode == 0, finished.stderr
    for lines in (3, 7, 12):  # an evaluation is a line, too
        with begin(words, folder, *(["--resume"] if folder.exists() else []), PYTHONHASHSEED="2") as process:
            wait_for_step(process, folder, lines)
            kill(process.pid)
            process.communicate()
    train(words, folder, resume=True)
    assert contents(folder / "final") == contents(whole / "final")
    assert json.dumps(told(folder)) == json.dumps(told(whole))
    assert any("loss/b" in line for line in told(whole))
    assert any("eval/preference/logps/margin/picture" in line for line in told(whole))
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


@pytest.mark.long
def test_the_split_does_not_depend_on_workers_or_the_seed_of_the_run(
    changes: list[str], pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    words = words_of(changes, pairs, photographs, tmp_path, False, "adapter_off")
    found = []
    for more in ([], ["train.seed=7"], ["train.workers=2"]):
        checked, _ = read_data(load_recipe(LLAVA_MDPO, [*words, *more, f"output.dir={tmp_path / 'run'}"]))
        assert checked.held_out is not None
        found.append([row.id for row in checked.held_out.valid_examples()])
    assert found[0] == found[1] == found[2]
