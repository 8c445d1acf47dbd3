"""Metrics by source, against the objective on the rows of each source alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import launch, records

from mdpo_core import DataError, Evaluator, Policy, Reader, load_recipe, register, run
from mdpo_core.data.reading import read_data
from mdpo_core.data.sampler import Sampler

CHAT = ("train.metrics_by_source=true", "model.prompts=chat", "model.unusual_texts=keep")
_FROM_OBJECTIVE = ("loss", "rewards", "logps")


@pytest.fixture
def mixed(changes: list[str], pairs: Path, photographs: Path, tmp_path: Path) -> list[str]:
    """Nine rows of ``a`` and the tenth of ``b``, which most steps lack; without dropout."""
    rows = json.loads(pairs.read_text())
    sources = {}
    for name, part in (("a", rows[:9]), ("b", rows[9:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
        sources[name] = {"reader": "pairs", "path": str(tmp_path / f"{name}.json"), "images": str(photographs)}
    data = json.dumps({"reader": "mixture", "sources": sources})
    kept = [change for change in changes if not change.startswith("data.")]
    more = ["model.lora.dropout=0", "train.metrics_by_source=true", "reference=adapter_off"]
    return [*kept, f"data={data}", *more]


def of_objective(record: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name.startswith(_FROM_OBJECTIVE)}


class EachSource(Evaluator):
    """The objective on the rows of each source alone, before the step that trains on all of them."""

    every: int | None = 1
    needs_reference = True

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for name in ("a", "b"):
            rows = [row for row in ROWS[0] if row.id.startswith(f"{name}/")]
            found |= {f"{metric}/{name}": value for metric, value in policy.metrics(rows).items()}
        return found


ROWS: list[Any] = []


def test_metrics_by_source_are_those_of_the_rows_of_each_alone(
    mixed: list[str], tmp_path: Path, own_registry: None
) -> None:
    register("each_source", EachSource)
    full = [*mixed, "train.batch_size=10", "train.micro_batch_size=5", "evaluators=[{evaluator: each_source}]"]
    recipe = load_recipe(LLAVA_MDPO, [*full, f"output.dir={tmp_path / 'run'}"])
    assert isinstance(recipe.data, Reader)
    ROWS[:] = [recipe.data.open()]
    folder = run(recipe).run_dir
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluated = {line["step"]: line for line in lines if "loss" not in line}
    trained = {line["step"]: line for line in lines if "loss" in line}
    assert set(trained) == {1, 2}
    for step, line in trained.items():
        before = {name.split("/", 2)[2]: value for name, value in evaluated[step - 1].items() if "eval/" in name}
        by_source = {name: value for name, value in of_objective(line).items() if name.endswith(("/a", "/b"))}
        assert set(by_source) == set(before)
        assert {"loss/a", "rewards/accuracy/text/b", "rewards/margin/picture/a", "rewards/chosen/b"} <= set(by_source)
        # The step shares forwards between other rows, so numbers differ by rounding.
        assert by_source == pytest.approx(before, rel=2e-4, abs=2e-5)


def test_a_source_without_rows_in_a_step_has_no_metrics_there(mixed: list[str], tmp_path: Path) -> None:
    recipe = load_recipe(LLAVA_MDPO, [*mixed, f"output.dir={tmp_path / 'run'}"])
    folder = run(recipe).run_dir
    checked, _ = read_data(recipe)
    sampler = Sampler(checked.lengths, 4, 2, recipe.train.seed)
    have_b = [9 in sampler.rows(step) for step in range(sampler.num_steps)]
    assert have_b.count(True) == 2
    for line, has_b, step in zip(records(folder), have_b, range(6), strict=True):
        assert ("loss/b" in line) == has_b
        count = len(sampler.rows(step))
        parts = [(count - has_b, line["loss/a"]), (int(has_b), line.get("loss/b", 0.0))]
        assert line["loss"] == pytest.approx(sum(number * loss for number, loss in parts) / count, rel=1e-9)


def test_metrics_by_source_of_a_file_without_sources_are_refused(
    changes: list[str], photographs: Path, tmp_path: Path
) -> None:
    """An annotation file of MMPR names none, a meta file does: only the rows can tell."""
    row = {"image": "00.jpg", "question": "What?", "chosen": "Yes.", "rejected": "No."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    entry = {"root": photographs.name, "annotation": str(tmp_path / "rows.jsonl")}
    (tmp_path / "meta.json").write_text(json.dumps({"own": entry}))
    kept = [change for change in changes if not change.startswith("data.")]
    for path, images in (("rows.jsonl", photographs), ("meta.json", photographs.parent)):
        data = {"reader": "mmpr", "path": str(tmp_path / path), "images": str(images)}
        recipe = load_recipe(LLAVA_MDPO, [*kept, f"data={json.dumps(data)}", *CHAT])
        if path == "rows.jsonl":
            with pytest.raises(DataError, match=r"train.metrics_by_source: no row names a source; use the reader"):
                read_data(recipe)
        else:
            assert read_data(recipe)[0].sources == ["own"]


@pytest.mark.nightly(reason="two processes share their metrics in other tests, by source as without")
def test_two_processes_log_by_source_what_one_does(mixed: list[str], tmp_path: Path) -> None:
    run(load_recipe(LLAVA_MDPO, mixed), run_dir=tmp_path / "one")
    finished = launch(mixed, tmp_path / "two", "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert any("loss/b" in line for line in two)
    for line, other in zip(one, two, strict=True):
        assert of_objective(line) == pytest.approx(of_objective(other), rel=1e-4, abs=1e-5)
