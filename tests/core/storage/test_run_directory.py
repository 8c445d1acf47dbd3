"""Run directories that somebody damaged: a resumed run names what is wrong, before it computes anything."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core import CheckpointError, DataError, MdpoError, Recipe, RecipeError, component, load_recipe, run
from mdpo_core.storage.checkpoints import STATE, Checkpoints
from mdpo_core.storage.files import atomic_folder, atomic_write
from mdpo_core.storage.run_directory import RunDirectory

Damage = Callable[[Path], object]
DEEP = "[" * 20_000
# What stands in a file of JSON, and what the refusal says of it.
CONTENTS: dict[str, str | bytes] = {
    "empty": "",
    "cut": '{"step": 6, "sha',
    "deep": DEEP,
    "deep in a key": '{"step": ' + DEEP,
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "a text": '"step"',
    "no JSON": "step: 6\n",
    "zero bytes": b"\x00" * 64,
    "Latin-1": '{"step": "é"}'.encode("latin-1"),
    "a number of 5,000 digits": '{"step": ' + "9" * 5000 + "}",
    "an empty object": "{}",
}


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.fixture
def recipe(cached_changes: list[str], folder: Path) -> Recipe:
    return load_recipe(LLAVA_MDPO, [*cached_changes, f"output.dir={folder}"])


@pytest.fixture
def folder(cached_run: Path, tmp_path: Path) -> Path:
    """A copy of a run of six steps that was stopped before it exported its model."""
    return Path(shutil.copytree(cached_run, tmp_path / "run", ignore=shutil.ignore_patterns("final")))


def refused(recipe: Recipe, folder: Path, words: str) -> None:
    with pytest.raises(MdpoError, match=words) as caught:
        run(recipe, resume=True)
    assert isinstance(caught.value, CheckpointError | RecipeError)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", ["manifest.json", "checkpoint.json", "metrics.jsonl", "recipe.yaml"])
def test_a_file_that_no_run_wrote_is_refused_by_name(
    name: str, content: str | bytes, folder: Path, recipe: Recipe
) -> None:
    file = newest(folder) / STATE if name == STATE else folder / name
    if name == "recipe.yaml" and DEEP in str(content):
        content = str(content)[:2000]  # the YAML parser takes long for more
    line = b"" if name != "metrics.jsonl" else b"\n"
    file.write_bytes((content.encode() if isinstance(content, str) else content) + line)
    # A recipe without its keys is another one.
    refused(recipe, folder, name.replace(".", r"\.") if name != "recipe.yaml" else r"recipe\.yaml|another recipe")


KEPT = {"numbers": [0], "ids": ["0"], "log_probs": {"": [[-1.5, -2.0]], "without": [[-2.5, -2.0]]}}


@pytest.fixture
def probed(folder: Path) -> Path:
    """The run as if it had been long enough for a probe; the file that the probe kept."""
    lines = (folder / "metrics.jsonl").read_text()
    first = json.dumps({"step": 0, "epoch": 0.0, "eval/probe/accuracy": 0.0, "eval/probe/chosen": 0.0})
    (folder / "metrics.jsonl").write_text(f"{first}\n{lines}")
    file = folder / "probe.json"
    file.write_text(json.dumps(KEPT))
    return file


@pytest.mark.parametrize("content", [None, *CONTENTS.values()], ids=["gone", *CONTENTS])
def test_what_the_probe_kept_is_looked_at_before_a_run_goes_on(
    content: str | bytes | None, probed: Path, folder: Path, recipe: Recipe
) -> None:
    RunDirectory(folder).claim(recipe, resume=True)
    probed.unlink()
    if content is not None:
        probed.write_bytes(content.encode() if isinstance(content, str) else content)
    remove = "remove it and " if content is not None else ""
    refused(recipe, folder, rf"probe\.json: cannot be read \(.*, or {remove}go on without the probe: probe=off")
    named = recipe.with_({"evaluators": [component("evaluator", "probe", rows=1)]})
    (folder / "recipe.yaml").write_text(json.dumps(named.to_dict()))
    with pytest.raises(DataError, match=r"probe\.json: cannot be read .* begin again in another run directory$"):
        RunDirectory(folder).claim(named, resume=True)


def test_a_run_goes_on_without_a_probe_that_is_lost(probed: Path, folder: Path, recipe: Recipe) -> None:
    off = recipe.with_({"probe": "off"})
    probed.write_text("{")
    refused(off, folder, r"probe\.json is damaged .*; restore it, or remove it and go on without the probe")
    probed.unlink()
    RunDirectory(folder).claim(off, resume=True)


def test_a_finished_run_needs_no_probe_any_more(probed: Path, folder: Path, recipe: Recipe) -> None:
    probed.unlink()
    (folder / "final").mkdir()
    RunDirectory(folder).claim(recipe, resume=True)
    with pytest.raises(CheckpointError, match=r"probe\.json: cannot be read"):
        RunDirectory(folder).claim(recipe.with_({"train.epochs": 7}), resume=True)


@pytest.mark.parametrize("key", ["format", "step", "processes", "sha256", "backend", "running"])
def test_checkpoint_with_a_missing_or_wrong_key_is_refused(key: str, folder: Path, recipe: Recipe) -> None:
    file = newest(folder) / STATE
    whole = file.read_text()
    changed(file, lambda content: content.pop(key))
    refused(recipe, folder, rf"checkpoint\.json is damaged: '{key}' is missing")
    for value in (None, "6", [], True):
        file.write_text(whole)
        changed(file, lambda content, value=value: content.update({key: value}))
        refused(recipe, folder, r"checkpoint\.json is damaged|written by another version")


@pytest.mark.parametrize("key", ["model", "data"])
def test_a_manifest_without_what_is_compared_is_refused(key: str, folder: Path, recipe: Recipe) -> None:
    changed(folder / "manifest.json", lambda content: content.pop(key))
    refused(recipe, folder, rf"manifest\.json, .* cannot be read: '{key}' is missing")


def rename_newest(name: str) -> Damage:
    return lambda folder: newest(folder).rename(folder / "checkpoints" / name)


def copy_newest(name: str) -> Damage:
    return lambda folder: shutil.copytree(newest(folder), folder / "checkpoints" / name)


def replace_folder(name: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).write_text("")

    return damage


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def lying(**values: object) -> Damage:
    """Values of the newest checkpoint that lie, as somebody would write them who knows of the digest."""

    def damage(folder: Path) -> None:
        changed(newest(folder) / STATE, lambda content: (content.update(values), digest_again(content)))

    return damage


def digest_again(content: dict[str, Any]) -> None:
    digested = {key: value for key, value in content.items() if key not in ("digest", "sha256")}
    content["digest"] = hashlib.sha256(json.dumps(digested, sort_keys=True).encode()).hexdigest()


def add_line(line: str) -> Damage:
    def damage(folder: Path) -> None:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a checkpoint renamed to another step": (rename_newest("step-000009"), "belongs to step 6, whose folder is called"),
    "a checkpoint renamed to a short number": (rename_newest("step-6"), "step-6 is not a checkpoint"),
    "a checkpoint renamed to a word": (rename_newest("step-abc"), "step-abc is not a checkpoint"),
    "a copy with a word": (copy_newest("step-abc"), "step-abc is not a checkpoint"),
    "a copy beside it": (copy_newest("step-000006 (copy)"), r"step-000006 \(copy\) is not a checkpoint"),
    "a copy of a later step": (copy_newest("step-000009"), "belongs to step 6"),
    "other digits": (copy_newest("step-0000\u0660\u0669"), "is not a checkpoint"),
    "a number of 5,000 digits": (lambda run: (run / f"checkpoints/step-{'9' * 200}").mkdir(), "is not a checkpoint"),
    "an empty stray folder": (lambda run: (run / "checkpoints/step-abc").mkdir(), "step-abc is not a checkpoint"),
    "an empty later step": (lambda run: (run / "checkpoints/step-000009").mkdir(), r"checkpoint\.json is missing"),
    "a file called like a step": (
        lambda run: (run / "checkpoints/step-000009").touch(),
        r"checkpoint\.json is missing",
    ),
    "no checkpoint.json": (lambda run: (newest(run) / STATE).unlink(), r"checkpoint\.json is missing"),
    "no digest": (lambda folder: changed(newest(folder) / STATE, lambda content: content.pop("digest")), "differs"),
    "a step that lies": (lying(step=4), "belongs to step 4"),
    "a negative step": (lying(step=-1), "belongs to step -1"),
    "no files": (lying(sha256={}), "does not name files of the folder"),
    "files elsewhere": (lying(sha256={"../../recipe.yaml": "0"}), "does not name files of the folder"),
    "means of texts": (lying(running={"a": ["0", "0"]}), "not a total and a count"),
    "checkpoints is a file": (replace_folder("checkpoints"), "checkpoints is not a folder"),
    "no manifest": (without("manifest.json"), r"manifest\.json, .* cannot be read"),
    "a line without a step": (add_line('{"loss": 1.0}'), r"metrics\.jsonl:7: a run did not write this line"),
    "a step of a text": (add_line('{"step": "6"}'), r"metrics\.jsonl:7"),
    "a step that is true": (add_line('{"step": true}'), r"metrics\.jsonl:7"),
    "a step of a fraction": (add_line('{"step": 1.5}'), r"metrics\.jsonl:7"),
    "a value of a text": (add_line('{"step": 6, "eval/a/b": "high"}'), r"metrics\.jsonl:7"),
    "an empty line": (add_line(""), r"metrics\.jsonl:7"),
    "final is a file": (replace_folder("final"), "final is not a folder"),
    "final is empty": (lambda run: (run / "final").mkdir(), "final is empty"),
    "final holds an empty folder": (lambda run: (run / "final" / "model").mkdir(parents=True), "final is empty"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_directory_is_refused_by_name(damage: Damage, words: str, folder: Path, recipe: Recipe) -> None:
    damage(folder)
    refused(recipe, folder, words)


def test_a_changed_value_of_a_checkpoint_is_refused(folder: Path, recipe: Recipe) -> None:
    changed(newest(folder) / STATE, lambda content: content["running"].update(mean=[0.5, 4]))
    refused(recipe, folder, r"checkpoint\.json is damaged: it differs from what was saved")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_final_model_that_was_cut_is_refused(name: str, cached_run: Path, folder: Path, recipe: Recipe) -> None:
    shutil.copytree(cached_run / "final", folder / "final")
    content = (folder / "final" / name).read_bytes()
    (folder / "final" / name).write_bytes(content[:-20])
    refused(recipe, folder, rf"{name} is damaged; move .*final away")


def test_what_a_killed_process_left_beside_is_no_damage(folder: Path, recipe: Recipe) -> None:
    (folder / "checkpoints" / ".unfinished-step-000007").mkdir()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    (folder / "run.lock").write_text("{")
    directory = RunDirectory(folder)
    directory.claim(recipe, resume=True)
    assert [record["step"] for record in directory.metrics.records()] == [1, 2, 3, 4, 5, 6]


def test_missing_lines_of_the_metrics_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = folder / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    RunDirectory(folder).metrics.warn_of_gaps(1, 6)
    assert "metrics.jsonl lacks the lines of 4 steps, from step 3 to 6" in caplog.text


def test_unfinished_file_in_place_of_a_folder_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-final").write_text("")
    with atomic_folder(tmp_path / "final") as final:
        (final / "model").write_text("whole")
    (tmp_path / ".unfinished-recipe.yaml").mkdir()
    atomic_write(tmp_path / "recipe.yaml", b"model: 1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "recipe.yaml"]


def test_the_newest_of_a_million_steps_is_found_by_number(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / STATE).touch()
    assert Checkpoints(tmp_path, 1).newest_step() == 1_000_000


def test_a_directory_where_nobody_can_write_is_read(folder: Path, recipe: Recipe, cached_run: Path) -> None:
    shutil.copytree(cached_run / "final", folder / "final")
    folder.chmod(0o500)
    try:
        assert run(recipe, resume=True).final == folder / "final"
    finally:
        folder.chmod(0o700)


def test_a_tilde_is_the_home_directory(
    folder: Path, recipe: Recipe, cached_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cached_run / "final", folder / "final")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert run(recipe, run_dir="~/run", resume=True).run_dir == folder
