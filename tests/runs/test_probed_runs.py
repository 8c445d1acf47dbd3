"""Every run is probed: by itself, without any effect on the training, and exact over a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import LLAVA_MDPO
from support.processes.launching import EVERY, contents, launch, records
from support.runs import stop_after, train

from mdpo_core import DataError, component, load_recipe

# 14 steps of all ten pairs: just long enough for two probes of a row.
ENOUGH = ["train.epochs=14", "train.batch_size=10", "train.micro_batch_size=10", "output.save_every=7"]
DROPOUT = "model.lora.dropout=0.2"
PROBED = {"accuracy", "accuracy/without", "accuracy/crop", "gap", "chosen", "chosen/without", "chosen/crop"}
LESS = pytest.mark.nightly(reason="ZeRO-3 is tried, which splits weights, too")


def probes(folder: Path) -> dict[int, dict[str, float]]:
    """The metrics of each probe by its step."""
    found = {
        int(line["step"]): {name[11:]: each for name, each in line.items() if name.startswith("eval/probe/")}
        for line in records(folder)
    }
    return {step: metrics for step, metrics in found.items() if metrics}


def weights(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder / "final").items() if name.endswith(".safetensors")}


def test_a_run_is_probed_unasked(changes: list[str], tmp_path: Path) -> None:
    folder = train([*changes, *ENOUGH], tmp_path / "run")
    assert list(probes(folder)) == [0, 14]
    assert probes(folder)[14].keys() == {*PROBED, *(f"logps_per_token{end}" for end in ("", "/without", "/crop"))}


@pytest.mark.long
def test_a_probed_run_trains_as_if_it_were_not(changes: list[str], tmp_path: Path) -> None:
    probed = train([*changes, *ENOUGH, DROPOUT], tmp_path / "probed")
    plain = train([*changes, *ENOUGH, DROPOUT, "probe=off"], tmp_path / "plain")
    assert weights(probed) == weights(plain)
    assert len(weights(plain)) > 0
    assert (len(probes(probed)), probes(plain)) == (2, {})
    assert not (plain / "probe.json").exists()


def test_a_run_that_is_too_short_is_not_probed(changes: list[str], tmp_path: Path) -> None:
    short = train([*changes, *ENOUGH, "train.epochs=1"], tmp_path / "short")
    assert probes(short) == {}
    assert not (short / "probe.json").exists()


def test_a_recipe_may_name_a_probe_of_its_own(changes: list[str]) -> None:
    from mdpo_core.recipe.automatic_probe import automatic_probe

    named = "evaluators=[{evaluator: probe, rows: 2}]"
    found = [automatic_probe(load_recipe(LLAVA_MDPO, [*changes, *more])) for more in ([], [named], ["probe=off"])]
    assert found == [component("evaluator", "probe"), None, None]


@pytest.mark.long
def test_a_stopped_run_is_probed_like_one_that_nothing_stopped(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, *ENOUGH, DROPOUT]
    whole, stopped = train(words, tmp_path / "whole"), tmp_path / "stopped"
    stop_after(9, load_recipe(LLAVA_MDPO, words), stopped)
    train(words, stopped, resume=True)
    assert probes(stopped) == probes(whole)
    assert (stopped / "probe.json").read_bytes() == (whole / "probe.json").read_bytes()
    assert weights(stopped) == weights(whole)


@pytest.mark.long
def test_a_run_that_began_without_a_probe_goes_on_without(changes: list[str], tmp_path: Path) -> None:
    words = [*changes, *ENOUGH]
    stop_after(9, load_recipe(LLAVA_MDPO, [*words, "probe=off"]), tmp_path / "run")
    assert probes(train(words, tmp_path / "run", resume=True)) == {}


@pytest.mark.nightly(reason="the stopped run reads the rows of its beginning, too")
def test_a_longer_run_probes_the_rows_of_its_beginning(changes: list[str], tmp_path: Path) -> None:
    folder = train([*changes, *ENOUGH], tmp_path / "run")
    train([*changes, *ENOUGH, "train.epochs=60"], folder, resume=True)
    assert 60 in probes(folder)
    assert len(json.loads((folder / "probe.json").read_text())["ids"]) == 1


@pytest.mark.nightly(reason="each kind of run is tried with evaluators of its own")
@pytest.mark.parametrize(
    ("more", "lacking"),
    [
        (["reference=cached"], set()),
        (["objective=[{loss: simpo}]"], {"crop"}),
        (["data.hold_out={rows: 3}", "train.epochs=20"], set()),
        (["data.check=none"], set()),
        # One row has no other row beside it among those that are probed.
        (["corruptions.crop={corruption: other_image, choose: most_similar}"], set()),
    ],
    ids=["cached", "no reference", "held out", "unchecked", "other image"],
)
def test_whatever_a_run_is_like_it_is_probed(
    more: list[str], lacking: set[str], changes: list[str], tmp_path: Path
) -> None:
    found = probes(train([*changes, *ENOUGH, *more], tmp_path / "run"))
    *_, last = found.values()
    assert len(found) > 1
    assert {f"accuracy/{name}" for name in {"without", "crop"} - lacking} <= last.keys()


@pytest.mark.long
def test_rows_without_pictures_have_no_gap(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    rows = [{**row, "prompt": "USER: What is it? ASSISTANT:"} for row in json.loads(pairs.read_text())]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = [
        *changes,
        *ENOUGH,
        "objective=[{loss: dpo}]",
        f"data.path={tmp_path / 'rows.json'}",
        "data.image=null",
        "data.unread=[img_path]",
    ]
    found = probes(train(words, tmp_path / "run"))
    assert found[14].keys() == {"accuracy", "chosen", "logps_per_token"}


@pytest.mark.long
def test_bad_rows_that_are_met_late_are_not_probed(changes: list[str], pairs: Path, tmp_path: Path) -> None:
    rows = json.loads(pairs.read_text())
    for row in rows[2:6]:
        row["chosen"] = " "
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = [
        *changes,
        *ENOUGH,
        f"data.path={tmp_path / 'rows.json'}",
        "data.check=none",
        "data.bad_rows={quarantine: 0.5}",
    ]
    folder = train([*words, "evaluators=[{evaluator: probe, rows: 6}]"], tmp_path / "run")
    assert len(json.loads((folder / "probe.json").read_text())["ids"]) == 6
    assert all("accuracy/crop" in found for found in probes(folder).values())


@pytest.mark.long
@pytest.mark.parametrize("where", ["checked", "unchecked", "held out"])
def test_an_error_of_a_probed_row_names_its_file_and_row(
    where: str, changes: list[str], pairs: Path, photographs: Path, tmp_path: Path
) -> None:
    """Of a row that is sound for the training, but cannot be shown as the probe asks."""
    file = tmp_path / "rows.json"
    second = [row | {"second": row["img_path"]} for row in json.loads(pairs.read_text())]
    file.write_text(json.dumps([*second[:6], second[6] | {"second": []}, *second[7:]]))
    reads = f"path: {file}, images: {photographs}, other_images: {{second: second}}"
    more = {
        "checked": [f"data={{reader: pairs, {reads}}}"],
        "unchecked": [f"data={{reader: pairs, check: none, {reads}}}"],
        "held out": [f"validation={{reader: pairs, {reads}}}"],
    }
    probe = "{evaluator: probe, rows: 10, without: {corruption: dataset_image, picture: second}}"
    with pytest.raises(DataError, match=rf"^{file} row 7, .* the other image 'second', which is empty in this row"):
        train([*changes, *more[where], f"evaluators=[{probe}]", "train.max_steps=1"], tmp_path / "run")


@pytest.fixture
def streamed(changes: list[str], pairs: Path, tmp_path: Path) -> list[str]:
    """The same rows as a stream, in blocks of six and four."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in json.loads(pairs.read_text())))
    kept = [change for change in changes if not change.startswith(("data.path", "train.epochs"))]
    more = [f"data.path={file}", "data.streaming=true", "data.shuffle_buffer=6", "train.max_steps=35"]
    return [*kept, *more, "reference=adapter_off", "output.save_every=9"]


@pytest.mark.nightly(reason="a stopped stream is tried in test_streaming.py, and a stopped run that is probed above")
def test_rows_of_a_stream_are_probed_and_stay_the_same(streamed: list[str], tmp_path: Path) -> None:
    whole, stopped = train(streamed, tmp_path / "whole"), tmp_path / "stopped"
    stop_after(20, load_recipe(LLAVA_MDPO, streamed), stopped)
    train(streamed, stopped, resume=True)
    assert list(probes(stopped)) == [0, 35]
    assert probes(stopped) == probes(whole)
    assert probes(stopped)[35].keys() >= PROBED


@pytest.mark.nightly(
    reason="a stream in two processes, and a probe in two of them, are tried in test_streaming.py and here"
)
@pytest.mark.parametrize("backend", ["ddp", "fsdp", "zero_3"])
def test_two_processes_probe_a_stream_as_one_does(backend: str, streamed: list[str], tmp_path: Path) -> None:
    require_same_probes([*streamed, "model.lora.dropout=0"], backend, 35, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("backend", [*(pytest.param(name, marks=LESS) for name in ("ddp", "fsdp")), "zero_3"])
def test_two_processes_find_what_one_does(backend: str, changes: list[str], tmp_path: Path) -> None:
    require_same_probes([*changes, *ENOUGH, "train.micro_batch_size=5"], backend, 14, tmp_path)


def require_same_probes(words: list[str], backend: str, last: int, tmp_path: Path) -> None:
    """One process and two find the same after the ``last`` step, up to rounding."""
    two = tmp_path / "two"
    alone = train([*words, f"backend={EVERY['ddp']}"], tmp_path / "alone")
    finished = launch([*words, f"backend={EVERY[backend]}"], two, "--processes", "2")
    assert finished.returncode == 0, finished.stderr
    assert probes(two).keys() == probes(alone).keys() == {0, last}
    for metric, value in probes(alone)[last].items():
        assert probes(two)[last][metric] == pytest.approx(value, abs=1e-3)
    assert (two / "probe.json").is_file()
