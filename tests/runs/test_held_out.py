"""Held-out rows and their evaluator, in small runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mdpo_readers.pairs import Pairs
from support.paths import LLAVA_MDPO
from support.processes.launching import EVERY, launch, records

from mdpo_core import DataError, Evaluator, Policy, RecipeError, load_recipe, register, run
from mdpo_core.cli.main import main
from mdpo_core.data.reading import read_data
from mdpo_core.storage.stored_checks import StoredChecks

SPLIT = ("fsdp", "zero_3")
PLAIN = "evaluators=[{evaluator: preference}]"
EVALUATED = "evaluators=[{evaluator: preference, by_source: true}]"


@pytest.fixture
def sources(pairs: Path, photographs: Path, tmp_path: Path) -> str:
    """A mixture of six and four rows; pictures 0 and 1 are in both."""
    rows = json.loads(pairs.read_text())
    readers = {}
    for name, part in (("a", rows[:6]), ("b", rows[6:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
        readers[name] = {"reader": "pairs", "path": str(tmp_path / f"{name}.json"), "images": str(photographs)}
    return json.dumps({"reader": "mixture", "sources": readers, "hold_out": {"rows": 3}})


def without_data(changes: list[str]) -> list[str]:
    return [change for change in changes if not change.startswith("data.")]


def evaluations(folder: Path) -> dict[int, dict[str, float]]:
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith("eval/preference/")}
        for line in records(folder)
        if "eval/preference/loss" in line
    }


@pytest.mark.parametrize("reference", [pytest.param("cached", marks=pytest.mark.long), "adapter_off"])
def test_preference_is_the_objective_on_rows_that_are_not_trained_on(
    reference: str, changes: list[str], sources: str, tmp_path: Path
) -> None:
    words = [*without_data(changes), f"data={sources}", EVALUATED, f"reference={reference}", "train.epochs=1"]
    recipe = load_recipe(LLAVA_MDPO, [*words, f"output.dir={tmp_path / 'run'}"])
    checked, _ = read_data(recipe)
    assert checked.held_out is not None
    held_out, trained = checked.held_out.valid_examples(), checked.valid_examples()
    assert (len(held_out), len(trained)) == (3, 7)
    assert {row.source for row in held_out} == {"a", "b"}
    pictures = {image.tobytes() for row in trained for image in row.images}
    assert not any(image.tobytes() in pictures for row in held_out for image in row.images)
    found = evaluations(run(recipe).run_dir)
    assert sorted(found) == [0, 2]
    counts = {name: sum(row.source == name for row in held_out) for name in ("a", "b")}
    for metrics in found.values():
        for name in ("loss", "loss/text", "rewards/accuracy/text", "rewards/margin/picture", "logps/margin/picture"):
            parts = [metrics[f"eval/preference/{name}/{source}"] * count for source, count in counts.items()]
            assert metrics[f"eval/preference/{name}"] == pytest.approx(sum(parts) / 3, rel=1e-6, abs=1e-7)
        assert 0 <= metrics["eval/preference/logps/accuracy/picture"] <= 1
    assert found[0]["eval/preference/loss"] == pytest.approx(3 * 0.693147, abs=1e-4)  # policy equals reference
    assert found[2] != found[0]


@pytest.mark.long
def test_validation_of_the_same_rows_measures_what_hold_out_does(
    changes: list[str], sources: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows of a split, read again by a reader of their own beside the same training rows."""
    words = [*without_data(changes), EVALUATED, "train.epochs=1"]
    recipe = load_recipe(LLAVA_MDPO, [*words, f"data={sources}", f"output.dir={tmp_path / 'split'}"])
    checked, _ = read_data(recipe)
    assert checked.held_out is not None
    parts: dict[str, dict[str, Any]] = {"data": {}, "validation": {}}
    options = json.loads(sources)["sources"]
    for section, rows in (("data", checked), ("validation", checked.held_out)):
        for name, first in (("a", 0), ("b", 6)):
            stored = json.loads(Path(options[name]["path"]).read_text())
            file = tmp_path / f"{section}-{name}.json"
            kept = [
                {**stored[row - first], "id": f"{row - first + 1}"}
                for row in rows.rows
                if 0 <= row - first < len(stored)
            ]
            file.write_text(json.dumps(kept))
            parts[section][name] = {**options[name], "path": str(file), "id": "id"}
    again = [f"{section}={json.dumps({'reader': 'mixture', 'sources': readers})}" for section, readers in parts.items()]
    caplog.set_level(logging.WARNING)
    apart = load_recipe(LLAVA_MDPO, [*words, *again, f"output.dir={tmp_path / 'apart'}"])
    assert "of its pictures" not in caplog.text
    assert evaluations(run(apart).run_dir) == evaluations(run(recipe).run_dir)


def test_pictures_in_both_are_counted_in_a_warning(
    small: list[str], pairs: Path, photographs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    again = f"validation={{reader: pairs, path: {pairs}, images: {photographs}}}"
    checked, _ = read_data(load_recipe(LLAVA_MDPO, [*small, again]))
    assert "validation: 8 of its pictures are also in the rows to train on" in caplog.text
    assert checked.held_out is not None
    assert len(checked.held_out.rows) == len(checked.rows) == 10


def test_check_prints_the_number_of_held_out_rows(
    changes: list[str], sources: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [word for change in (*without_data(changes), f"data={sources}") for word in ("--set", change)]
    assert main(["check", str(LLAVA_MDPO), "--data", *sets]) == 0
    assert "no problem found, 7 rows to train on, 3 held out (a 2, b 1), 0 in quarantine" in capsys.readouterr().out


class Unsure(Pairs):
    """A reader that cannot tell the sources of its rows before it reads them."""

    def names_of_sources(self) -> None:
        return None


def test_metrics_by_source_of_rows_without_sources_are_refused(small: list[str], own_registry: None) -> None:
    with pytest.raises(RecipeError, match=r"evaluators.0: 'preference' measures by source, but the rows of the reader"):
        load_recipe(LLAVA_MDPO, [*small, "data.hold_out={share: 0.3}", EVALUATED])
    register("unsure", Unsure)
    recipe = load_recipe(LLAVA_MDPO, [*small, "data.reader=unsure", "data.hold_out={share: 0.3}", EVALUATED])
    with pytest.raises(DataError, match=r"evaluators.0: no held-out row names a source; use the reader 'mixture'"):
        read_data(recipe)


class Silent(Pairs):
    """A reader that cannot tell what its rows have before it reads them."""

    def gives(self) -> None:  # type: ignore[override]
        return None


def test_what_an_evaluator_reads_is_looked_for_before_a_model_is_loaded(small: list[str], own_registry: None) -> None:
    register("silent", Silent)
    evaluator = "evaluators=[{evaluator: preference, response: chose}]"
    recipe = load_recipe(LLAVA_MDPO, [*small, "data.reader=silent", "data.hold_out={share: 0.3}", evaluator])
    with pytest.raises(DataError, match=r"evaluators.0: needs the response 'chose'; did you mean 'chosen'\?"):
        read_data(recipe)


def test_mistakes_of_validation_say_that_they_are_its_own(small: list[str], photographs: Path, tmp_path: Path) -> None:
    file = tmp_path / "validation.json"
    words = [*small, f"validation={{reader: pairs, path: {file}, images: {photographs}}}"]
    row = {"img_path": "00.jpg", "prompt": "<image> ?", "chosen": "a", "rejected": ""}
    for rows, message in (
        ([], f"validation: {file}: there are no rows"),
        ([row], f"validation: {file} row 1: the response 'rejected' is empty"),
        ([{**row, "rejected": "b", "img_path": "nowhere.jpg"}], f"validation: {file} row 1: img_path: "),
        (
            [{key: row[key] for key in ("prompt", "chosen", "rejected")}],
            f"validation: {file}: the column 'img_path' is missing",
        ),
    ):
        file.write_text(json.dumps(rows))
        with pytest.raises(DataError) as caught:
            read_data(load_recipe(LLAVA_MDPO, words))
        assert message in str(caught.value)


def test_advice_about_the_rows_of_validation_names_its_own_options(
    small: list[str], photographs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "data.split.json"
    file.write_text("[]")
    words = [*small, f"validation={{reader: pairs, path: {file}, images: {photographs}, split: test}}"]
    with pytest.raises(DataError) as caught:
        read_data(load_recipe(LLAVA_MDPO, words))
    advice = "a file has no split 'test'; leave validation.split out, or give the file of that split"
    assert str(caught.value) == f"validation: {file}: {advice}"


class Views(Evaluator):
    """The mean log-probs of the objective's own views."""

    needs_reference = True
    reads_held_out = True

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {name: value for name, value in policy.metrics(policy.held_out).items() if name.startswith("logps/")}


def test_margin_of_pictures_is_that_of_a_condition_of_the_objective(small: list[str], own_registry: None) -> None:
    register("views", Views)
    words = [
        "corruptions={dark: {corruption: blank}}",
        "objective=[{loss: dpo}, {loss: dpo, over: chosen@dark}]",
        "evaluators=[{evaluator: preference}, {evaluator: views}]",
        "data.hold_out={share: 0.3}",
        "train.epochs=1",
    ]
    folder = run(load_recipe(LLAVA_MDPO, [*small, *words])).run_dir
    for line in (line for line in records(folder) if "eval/views/logps/chosen" in line):
        expected = line["eval/views/logps/chosen"] - line["eval/views/logps/chosen@dark"]
        assert expected != 0
        assert line["eval/preference/logps/margin/picture"] == pytest.approx(expected, rel=1e-4)


def test_preference_works_without_a_reference_or_a_condition(small: list[str]) -> None:
    words = ["corruptions={}", "objective=[{loss: simpo}]", "reference=auto", "data.hold_out={share: 0.3}", PLAIN]
    last = evaluations(run(load_recipe(LLAVA_MDPO, [*small, *words, "train.epochs=1"])).run_dir)[2]
    assert set(last) >= {f"eval/preference/{name}" for name in ("loss", "loss/0:simpo", "logps/accuracy/picture")}
    assert last["eval/preference/logps/margin/picture"] != 0


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("ddp", marks=pytest.mark.long),
        *(pytest.param(name, marks=pytest.mark.nightly(reason="as ddp, by another engine")) for name in SPLIT),
    ],
)
def test_two_processes_measure_on_the_rows_of_one(
    backend: str, changes: list[str], sources: str, tmp_path: Path
) -> None:
    words = [*without_data(changes), f"data={sources}", EVALUATED, "model.lora.dropout=0", "train.epochs=1"]
    kept = [word for word in words if not word.startswith("backend")]
    for name, options, more in (("one", EVERY["ddp"], ()), ("two", EVERY[backend], ("--processes", "2"))):
        finished = launch([*kept, f"backend={options}"], tmp_path / name, *more)
        assert finished.returncode == 0, finished.stderr
    one, two = evaluations(tmp_path / "one"), evaluations(tmp_path / "two")
    assert set(one) == {0, 2}
    for step, metrics in one.items():
        assert metrics == pytest.approx(two[step], rel=1e-4, abs=1e-5)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text())["data"] for name in ("one", "two")]
    assert manifests[0] == manifests[1]
    assert manifests[0]["held_out"]["rows"] == 3


@pytest.mark.parametrize("held_out", ["hold_out", "validation"])
def test_a_corruption_that_needs_more_held_out_rows_is_refused_before_the_model_is_loaded(
    held_out: str, changes: list[str], sources: str, tmp_path: Path
) -> None:
    """The second time, too, when the rows have been checked before."""
    one = json.loads(sources)["sources"]["b"] | {"path": str(tmp_path / "one.json")}
    (tmp_path / "one.json").write_text(json.dumps(json.loads((tmp_path / "b.json").read_text())[:1]))
    rows = "data.hold_out={rows: 1}" if held_out == "hold_out" else f"validation={json.dumps(one)}"
    other = "evaluators=[{evaluator: preference, without: {corruption: other_image}}]"
    recipe = load_recipe(LLAVA_MDPO, [*changes, rows, other, f"output.dir={tmp_path / 'run'}"])
    for _ in range(2):
        with pytest.raises(DataError, match=r"evaluators\.0: .*other_image found none of 1 rows"):
            read_data(recipe, store=StoredChecks(recipe))
    more = (
        "data.hold_out={rows: 4}"
        if held_out == "hold_out"
        else f"validation={json.dumps(one | {'path': str(tmp_path / 'b.json')})}"
    )
    read_data(load_recipe(LLAVA_MDPO, [*changes, more, other, f"output.dir={tmp_path / 'run'}"]))
