"""Rejected answers that the model itself wrote."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pytest
import torch
from support.data_commands import QUICKSTART, RECIPE, Row, lines, recipe_of, same_pixels, with_data, write_rows
from support.pairs import PROMPT
from support.processes.launching import kill
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import (
    Begun,
    CheckpointError,
    DataError,
    EncodedPrompt,
    Example,
    Generation,
    NewPairs,
    Recipe,
    RecipeError,
    component,
    generate_rejected,
    load_recipe,
    run,
)
from mdpo_core.cli import main
from mdpo_core.data.responses import tokens_of_beginning
from mdpo_core.make_data.continuation import Added, ContinuationTask, Writer
from mdpo_core.make_data.generate_rejected import Attempt
from mdpo_core.registry.discovery import current_registry

ANSWER = "A Chinese temple with a red roof. No, there are no people."
CONDITIONS = ("corruptions.blind={corruption: no_image}", "corruptions.hidden={corruption: token_drop, share: 1.0}")
IMAGES = ["00.jpg", "10.jpg", "01.png", "11.png"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"img_path": image, "chosen": ANSWER, "rejected": "Leaves."} for image in IMAGES]
    return write_rows(tmp_path / "source.jsonl", rows)


def make(recipe: Recipe, out: Path, **how: object) -> NewPairs:
    made = generate_rejected(recipe, out, Generation(**{"max_new_tokens": 12, **how}))  # type: ignore[arg-type]
    assert made is not None
    return made


def rejected(path: Path) -> list[str]:
    return [row["rejected"] for row in lines(path)]


def test_answer_continues_kept_part_as_plain_transformers_does(
    changes: list[str], data: Path, tmp_path: Path, llava: Path, photographs: Path
) -> None:
    make(recipe_of(changes, data), tmp_path / "out.jsonl", keep=0.5)
    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(llava)
    kept = "A Chinese temple with a red"  # six words of twelve
    for image, answer in zip(IMAGES, rejected(tmp_path / "out.jsonl"), strict=True):
        with PIL.Image.open(photographs / image) as picture:
            inputs = processor(images=picture.convert("RGB"), text=PROMPT, return_tensors="pt")
        more = processor.tokenizer(kept, add_special_tokens=False, return_tensors="pt")
        for name in ("input_ids", "attention_mask"):
            inputs[name] = torch.cat([inputs[name], more[name]], dim=1)
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode([*more["input_ids"][0], *made], skip_special_tokens=True)
        assert answer == text.strip()


@pytest.mark.parametrize("keep", ["none", 0.5])
def test_answer_ignores_removed_image_and_hidden_image_tokens(
    changes: list[str], data: Path, tmp_path: Path, keep: str
) -> None:
    recipe = recipe_of(changes, data, *CONDITIONS)
    for condition, num_answers in (("blind", 1), ("hidden", 1), ("clean", len(IMAGES))):
        make(recipe, tmp_path / f"{condition}.jsonl", condition=condition, keep=keep)
        # The pictures are all that differs between the rows.
        assert len(set(rejected(tmp_path / f"{condition}.jsonl"))) == num_answers


def test_sentences_are_cut_anew_until_they_differ_from_reference(
    changes: list[str], data: Path, tmp_path: Path
) -> None:
    make(recipe_of(changes, data), tmp_path / "out.jsonl", keep="sentences", max_new_tokens=6)
    rows = lines(tmp_path / "out.jsonl")
    for row in rows:
        assert row["rejected"].split() != ANSWER.split()
        assert row["rejected_by"]["attempts"] in range(1, 6)
    assert len({row["rejected"] for row in rows}) > 1


@pytest.mark.parametrize("prompts", ["ready", "chat"])
def test_beginning_has_response_tokens_without_the_ending(llava: Path, prompts: str) -> None:
    encoder = component("adapter", "llava", path=str(llava), prompts=prompts).encoder()  # type: ignore[attr-defined]
    for text in (ANSWER, "A Chinese temple", "a", "0", "No.", "."):
        ids = tokens_of_beginning(encoder, text)
        whole = encoder.encode_response(text)
        assert whole[: len(ids)].equal(ids)
        assert len(ids) < len(whole)
        assert encoder.decode(ids) == text
    assert len(tokens_of_beginning(encoder, "")) == 0


def test_the_source_row_is_kept_and_read_again(changes: list[str], tmp_path: Path) -> None:
    more = {"tags": ["a", "b"], "nested": {"x": 1, "y": None}, "score": 0.5, "note": "é"}
    rows = [{"img_path": IMAGES[0], "better": ANSWER, "worse": "Leaves.", **more}]
    source = write_rows(tmp_path / "source.jsonl", rows)
    recipe = recipe_of(changes, source, "data.responses={chosen: better, rejected: worse}", "data.columns=[score]")
    made = make(recipe, tmp_path / "out.jsonl")
    [row] = lines(tmp_path / "out.jsonl")
    answer, by = row.pop("worse"), row.pop("rejected_by")
    assert row.pop("source_worse") == "Leaves."
    assert row == {name: value for name, value in lines(source)[0].items() if name != "worse"}
    assert (by["condition"], by["keep"], by["seed"], by["attempts"], by["source_row"]) == ("clean", "none", 0, 1, 1)
    [before], [after] = recipe.data.open(), made.reader.open()
    assert after.responses == {"chosen": ANSWER, "rejected": answer}
    assert (after.id, after.columns) == (before.id, before.columns)
    assert same_pixels(before, after)
    # Once more: no older answer is lost.
    make(with_data(recipe, made.reader), tmp_path / "again.jsonl", keep=0.5)
    [again] = lines(tmp_path / "again.jsonl")
    assert (again["source_worse"], again["source_source_worse"]) == ("Leaves.", answer)


def test_numbers_of_the_old_answers_are_kept_but_not_read(
    changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"chosen_score": 2.0, "rejected_probability": 0.1, "preference_probability": 0.9, "low_confidence": 1.0}
    row = {"img_path": IMAGES[0], "chosen": ANSWER, "rejected": "Leaves.", "weight": 3.0, **old}
    source = write_rows(tmp_path / "source.jsonl", [row])
    columns = f"data.columns=[{', '.join(['weight', *old])}]"
    words = [word for each in [*changes, f"data.path={source}", columns] for word in ("--set", each)]
    out = tmp_path / "out.jsonl"
    assert main(["generate-rejected", str(RECIPE), *words, "--max-new-tokens", "4", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"describe the old answers and are not read: {', '.join(old)}\n" in told
    assert json.loads(told.rpartition("data=")[2].rstrip("'\n"))["columns"] == ["weight"]
    assert lines(out)[0].items() >= old.items()


def test_rows_without_a_rejected_answer_get_one(changes: list[str], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "source.jsonl", [{"img_path": IMAGES[0], "answer": ANSWER}])
    made = make(recipe_of(changes, source, "data.responses={chosen: answer}"), tmp_path / "out.jsonl")
    assert set(made.reader.open()[0].responses) == {"chosen", "rejected"}


@pytest.mark.parametrize("prompt", ["prompt", "null"])
def test_conversations_stay_conversations(changes: list[str], tmp_path: Path, prompt: str) -> None:
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    before = [question] if prompt == "null" else []

    def answered(text: str) -> list[Row]:
        return [*before, {"role": "assistant", "content": [{"type": "text", "text": text}]}]

    row = {"prompt": [question], "img_path": IMAGES[0], "chosen": answered(ANSWER), "rejected": answered("Leaves.")}
    source = write_rows(tmp_path / "source.jsonl", [row])
    recipe = recipe_of(changes, source, "model.prompts=chat", f"data.prompt={prompt}")
    [example] = make(recipe, tmp_path / "out.jsonl", keep=0.5).reader.open()
    [original] = recipe.data.open()
    assert (example.prompt, example.responses["chosen"]) == (original.prompt, ANSWER)
    assert example.responses["rejected"].startswith("A Chinese temple with a red")
    assert example.responses["rejected"] != ANSWER


def test_an_answer_of_several_turns_is_refused_by_its_row(changes: list[str], tmp_path: Path) -> None:
    turns = [{"role": role, "content": "Well."} for role in ("assistant", "user", "assistant")]
    answer = [{"role": "assistant", "content": "No."}]
    question = [{"role": "user", "content": "<image>What?"}]
    rows = [{"img_path": IMAGES[0], "prompt": question, "chosen": turns, "rejected": answer}]
    source = write_rows(tmp_path / "source.jsonl", rows)
    with pytest.raises(DataError, match="example 'row-0': the response 'chosen' is a conversation"):
        make(recipe_of(changes, source, "model.prompts=chat"), tmp_path / "out.jsonl")


@pytest.mark.long
def test_rows_no_file_stores_are_written_as_pairs_and_train(tmp_path: Path) -> None:
    """Rows of a reader that stores nothing are written as pairs, and a run trains on them."""
    tiny = ["data.num_pairs=4", "train.batch_size=4", "train.micro_batch_size=4", "evaluators=[]", "trackers=[]"]
    recipe = load_recipe(QUICKSTART, [*tiny, f"output.dir={tmp_path / 'run'}"])
    made = make(recipe, tmp_path / "out.jsonl", condition="crop", keep="sentences", max_new_tokens=20)
    source = {example.id: example for example in recipe.data.open()}
    found = list(made.reader.open())
    assert len(found) + sum(made.left_out.values()) == 4
    for example in found:
        assert same_pixels(example, source[example.id])
        assert example.responses["chosen"] == source[example.id].responses["chosen"]
    assert run(with_data(recipe, made.reader)).final.is_dir()


def test_quarantined_first_row_does_not_decide_what_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(QUICKSTART, ["data.num_pairs=3", "data.bad_rows=quarantine"])
    first, *valid = recipe.data.open()
    bad = replace(first, responses={"chosen": " ", "other": "Two."}, columns={"margin": 1.0})
    monkeypatch.setattr(type(recipe.data), "open", lambda reader: [bad, *valid])
    made = make(recipe, tmp_path / "out.jsonl")
    found = made.reader.open()
    assert [example.id for example in found] == [example.id for example in valid]
    assert {tuple(example.responses) for example in found} == {("chosen", "rejected")}
    assert [row["rejected_by"]["source_row"] for row in lines(tmp_path / "out.jsonl")] == [2, 3]


def test_drawn_answers_depend_only_on_seed_and_row(changes: list[str], data: Path, tmp_path: Path) -> None:
    def drawn(name: str, *more: str, rows: Sequence[int] = range(4)) -> dict[str, str]:
        source = tmp_path / f"{name}-source.jsonl"
        source.write_text("".join(data.read_text().splitlines(keepends=True)[row] for row in rows))
        make(recipe_of(changes, source, *more), tmp_path / f"{name}.jsonl", temperature=1.0, top_p=0.9)
        return {row["name"]: row["rejected"] for row in lines(tmp_path / f"{name}.jsonl")}

    everything = drawn("all")
    assert len(set(everything.values())) == 4
    assert drawn("two", "train.micro_batch_size=1", rows=[3, 1]).items() < everything.items()
    assert drawn("other", "train.seed=1").keys() == everything.keys()
    assert not drawn("another", "train.seed=2").items() & everything.items()


def test_a_row_whose_answer_is_the_chosen_one_is_left_out(changes: list[str], data: Path, tmp_path: Path) -> None:
    make(recipe_of(changes, data), tmp_path / "first.jsonl")
    rows = [{**row, "rejected": "Leaves."} for row in lines(tmp_path / "first.jsonl")]
    own = [row["rejected"] for row in lines(tmp_path / "first.jsonl")]
    rows[0]["chosen"], rows[2]["chosen"] = own[0], f"  {own[2].swapcase()} "
    source = write_rows(tmp_path / "own.jsonl", rows[:3])
    made = make(recipe_of(changes, source), tmp_path / "out.jsonl")
    assert [row["name"] for row in lines(tmp_path / "out.jsonl")] == ["row-1"]
    assert made.left_out == {"the answer equals the chosen one, apart from capitals and spaces": 2}
    source.write_text(source.read_text().splitlines()[0])
    with pytest.raises(DataError, match="every row was left out"):
        make(recipe_of(changes, source), tmp_path / "none.jsonl")


def test_an_answer_of_a_run_s_model_is_its_own(
    changes: list[str], data: Path, tmp_path: Path, other_llava: Path
) -> None:
    make(recipe_of(changes, data), tmp_path / "base.jsonl")
    make(recipe_of(changes, data), tmp_path / "policy.jsonl", policy=other_llava)
    make(recipe_of([*changes, f"model.path={other_llava}"], data), tmp_path / "other.jsonl")
    assert (
        rejected(tmp_path / "policy.jsonl") == rejected(tmp_path / "other.jsonl") != rejected(tmp_path / "base.jsonl")
    )


def test_a_model_is_known_by_its_files_wherever_they_are(
    changes: list[str], data: Path, tmp_path: Path, other_llava: Path
) -> None:
    recipe, out = recipe_of(changes, data), tmp_path / "out.jsonl"
    make(recipe, out, policy=other_llava, max_new_tokens=2)
    assert str(other_llava) not in out.with_name("out.jsonl.settings.json").read_text()
    moved = shutil.copytree(other_llava, tmp_path / "moved")
    assert generate_rejected(recipe, out, Generation(policy=moved, max_new_tokens=2)) is None
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    with pytest.raises(CheckpointError, match=r"policy.*config\.json"):
        generate_rejected(recipe, out, Generation(policy=moved, max_new_tokens=2))


@pytest.mark.long
def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(changes: list[str], data: Path, tmp_path: Path) -> None:
    slow = ["train.micro_batch_size=1", "train.batch_size=1", "data.id=name", f"data.path={data}"]
    words = [word for each in [*changes, *slow] for word in ("--set", each)]
    options = ["--temperature", "1", "--max-new-tokens", "150", "--out", str(tmp_path / "killed.jsonl")]
    command = [sys.executable, "-m", "mdpo_core.cli", "generate-rejected", str(RECIPE), *words, *options]
    partial = tmp_path / "killed.jsonl.partial"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None and not (partial.is_file() and partial.read_bytes().count(b"\n")):
            time.sleep(0.002)
        kill(process.pid)
    assert process.returncode != 0
    assert not (tmp_path / "killed.jsonl").exists()
    assert 0 < partial.read_bytes().count(b"\n") < 4
    recipe = recipe_of([*changes, *slow], data)
    how = {"temperature": 1.0, "max_new_tokens": 150}
    make(recipe, tmp_path / "unstopped.jsonl", **how)
    make(recipe, tmp_path / "killed.jsonl", **how)
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "unstopped.jsonl").read_bytes()
    assert not partial.exists()
    assert generate_rejected(recipe, tmp_path / "killed.jsonl", Generation(**how)) is None  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="max_new_tokens: 150 there, 256 here"):
        generate_rejected(recipe, tmp_path / "killed.jsonl", Generation(temperature=1.0))


def test_what_cannot_work_is_said_before_anything_is_written(
    changes: list[str], data: Path, tmp_path: Path, other_llava: Path
) -> None:
    recipe = recipe_of(changes, data, *CONDITIONS)
    unknown = r"condition=blnd: .*did you mean 'blind'\?  \(clean, crop, blind, hidden\)"
    with pytest.raises(RecipeError, match=unknown):
        make(recipe, tmp_path / "out.jsonl", condition="blnd")
    with pytest.raises(RecipeError, match=r"max_new_tokens must be less than model.max_length, which is 2048"):
        make(recipe, tmp_path / "out.jsonl", max_new_tokens=2048)
    with pytest.raises(DataError, match=r"out.json: out must name a JSON Lines file"):
        make(recipe, tmp_path / "out.json")
    with pytest.raises(RecipeError, match=r"nowhere' does not exist"):
        make(recipe, tmp_path / "out.jsonl", policy=tmp_path / "nowhere")
    run_directory = tmp_path / "run"
    shutil.copytree(other_llava, run_directory / "final")
    with pytest.raises(
        RecipeError, match=rf"'{run_directory}' does not contain a model.*mean '{run_directory / 'final'}'\?$"
    ):
        make(recipe, tmp_path / "out.jsonl", policy=run_directory)
    (tmp_path / "taken.jsonl.images").mkdir()
    with pytest.raises(CheckpointError, match=r"taken.jsonl.images already exists"):
        make(recipe, tmp_path / "taken.jsonl")
    data.write_text(data.read_text().replace("10.jpg", "missing.jpg"))
    with pytest.raises(DataError, match="row 2"):
        make(recipe_of(changes, data), tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out*"))


def test_a_column_that_json_cannot_hold_is_named(changes: list[str], data: Path, tmp_path: Path) -> None:
    table = datasets.Dataset.from_list([{**lines(data)[0], "blob": b"\x00\xff"}])
    table.to_parquet(str(tmp_path / "source.parquet"))
    with pytest.raises(
        DataError, match=r"source.parquet row 1: blob: contains a value of type bytes, which JSON does not have"
    ):
        make(recipe_of(changes, tmp_path / "source.parquet"), tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep", "2"], "argument --keep: must be none, sentences, or a share between 0 and 1, found 2"),
        (["--keep", "half"], "argument --keep: must be none, sentences, or a share"),
        (["--temperature", "-1"], "argument --temperature: must be 0 or more"),
        (["--top-p", "0"], "argument --top-p: must be above 0 and at most 1"),
        (["--max-new-tokens", "0"], "argument --max-new-tokens: must be a whole number above 0"),
    ],
)
def test_options_out_of_range_are_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["generate-rejected", str(RECIPE), "--out", "out.jsonl", *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_share_of_tokens_that_are_not_drawn_is_refused(
    changes: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for each in [*changes, f"data.path={data}"] for word in ("--set", each)]
    command = ["generate-rejected", str(RECIPE), *words, "--top-p", "0.9", "--out", str(tmp_path / "out.jsonl")]
    assert main(command) == 2
    assert "--top-p has no effect at --temperature 0" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
    assert main([*command, "--temperature", "1", "--max-new-tokens", "4"]) == 0
    assert lines(tmp_path / "out.jsonl")[0]["rejected_by"]["top_p"] == 0.9


@pytest.mark.long
def test_printed_command_trains_on_made_pairs_in_own_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdpo_core.registry.discovery._current", current_registry())
    monkeypatch.chdir(tmp_path)
    tiny = ["train.batch_size=4", "train.micro_batch_size=4", "evaluators=[]", "trackers=[]", "output.dir=runs/tiny"]
    words = [word for each in ["data.num_pairs=4", *tiny] for word in ("--set", each)]
    for name in ("one.jsonl", "two.jsonl"):
        options = ["--without", "bunny", "--max-new-tokens", "9", "--out", name]
        assert main(["generate-rejected", str(QUICKSTART), *words, *options]) == 0
        printed = shlex.split(capsys.readouterr().out.rpartition("train on it: ")[2])
        assert "data.num_pairs=4" not in printed
        assert printed[0] == "mdpo-run"
        assert "--without bunny" in " ".join(printed)
        assert main(["run", *printed[1:]]) == 0
        capsys.readouterr()
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tiny-one", "tiny-two"]


def test_the_command_says_how_to_train_on_what_it_wrote(
    changes: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for each in [*changes, f"data.path={data}"] for word in ("--set", each)]
    out = tmp_path / "out.jsonl"
    command = ["generate-rejected", str(RECIPE), *words, "--max-new-tokens", "4", "--out", str(out)]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert f"{out}: 4 rows, 0 left out" in told
    assert "4 answers were cut off at --max-new-tokens" in told
    assert json.loads(told.rpartition("data=")[2].rstrip("'\n"))["path"] == str(out)
    assert main(command) == 0
    assert "already exists; this command wrote it" in capsys.readouterr().out


def test_the_printed_command_keeps_what_the_recipe_says_of_any_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"hold_out": {"rows": 1, "seed": 3}, "bad_rows": {"quarantine": 0.5}, "duplicates": "quarantine"}
    own = ["data.num_pairs=4", "validation=null", "evaluators=[{evaluator: preference}]", "trackers=[]"]
    own += [f"data.{name}={json.dumps(value)}" for name, value in kept.items()]
    words = [word for each in own for word in ("--set", each)]
    out = tmp_path / "out.jsonl"
    assert main(["generate-rejected", str(QUICKSTART), *words, "--max-new-tokens", "9", "--out", str(out)]) == 0
    printed = shlex.split(capsys.readouterr().out.rpartition("train on it: ")[2])
    _, recipe_file, *options = printed
    changed = [word for name, word in pairwise(options) if name == "--set"]
    recipe = load_recipe(recipe_file, changed)
    assert recipe.data.path == str(out)  # type: ignore[attr-defined]
    assert recipe.data.hold_out is not None
    assert recipe.data.model_dump(mode="json", include=set(kept), exclude_none=True) == kept


def test_command_asked_to_stop_tells_what_is_kept_and_resumes(
    changes: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [*changes, f"data.path={data}", "train.micro_batch_size=2"]
    words = [word for each in more for word in ("--set", each)]
    out = tmp_path / "out.jsonl"
    command = ["generate-rejected", str(RECIPE), *words, "--max-new-tokens", "4", "--out", str(out)]

    def asked_to_stop(self: Writer, tasks: Sequence[ContinuationTask]) -> list[Added]:
        os.kill(os.getpid(), signal.SIGTERM)
        return write(self, tasks)

    write = Writer.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "__call__", asked_to_stop)
        assert main(command) == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert "stopped, 2 of 4 rows are kept in" in told
    assert "continue with the same command" in told
    assert main(command) == 0
    assert len(lines(out)) == 4


def test_one_process_makes_the_data(
    changes: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    command = ["relabel", str(RECIPE), "--set", f"data.path={data}", "--out", str(tmp_path / "out.jsonl")]
    assert main(command) == 2
    assert "mdpo relabel runs in one process" in capsys.readouterr().err


def test_answer_goes_on_from_the_beginning_of_a_row(
    changes: list[str], tmp_path: Path, llava: Path, photographs: Path
) -> None:
    """With `beginning`, the model continues it, and the new response is only what it adds."""
    rows = [{"img_path": image, "context": "A temple.", "chosen": "It is red.", "rejected": "No."} for image in IMAGES]
    recipe = recipe_of(changes, write_rows(tmp_path / "source.jsonl", rows), "data.beginning=context")
    made = make(recipe, tmp_path / "out.jsonl")
    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(llava)
    for image, row in zip(IMAGES, lines(tmp_path / "out.jsonl"), strict=True):
        with PIL.Image.open(photographs / image) as picture:
            inputs = processor(images=picture.convert("RGB"), text=PROMPT, return_tensors="pt")
        more = processor.tokenizer("A temple.", add_special_tokens=False, return_tensors="pt")
        for name in ("input_ids", "attention_mask"):
            inputs[name] = torch.cat([inputs[name], more[name]], dim=1)
        written = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode([*more["input_ids"][0], *written], skip_special_tokens=True)
        assert row["rejected"] == text.strip().removeprefix("A temple.").strip()
    assert [each.begun for each in made.reader.open()] == [Begun("A temple.")] * len(IMAGES)


def test_sources_that_begin_answers_in_two_ways_are_refused_before_an_answer(
    changes: list[str], tmp_path: Path, photographs: Path
) -> None:
    row = {"img_path": IMAGES[0], "context": "A temple.", "chosen": "It is red.", "rejected": "No."}
    source = {"reader": "pairs", "path": str(write_rows(tmp_path / "source.jsonl", [row])), "images": str(photographs)}
    sources = {"one": source | {"beginning": "context"}, "two": source | {"beginning": "context", "unfinished": True}}
    kept = [change for change in changes if not change.startswith("data.")]
    recipe = load_recipe(RECIPE, [*kept, f"data={json.dumps({'reader': 'mixture', 'sources': sources})}"])
    with pytest.raises(DataError, match="its answers are begun in another way than those of example"):
        make(recipe, tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out.jsonl*"))


def test_unfinished_answer_gets_one_sentence() -> None:
    row = Example("1", "?", {"chosen": "It is red."}, begun=Begun("A temple.", unfinished=True))
    attempt = Attempt(row, EncodedPrompt(torch.tensor([1])), "none", seed=0)
    [task] = attempt.next_tasks()
    assert task.beginning == "A temple."
    attempt.take([Added(" It flies. It sings", ended=False)])
    assert (attempt.answer, attempt.ended) == ("It flies.", True)


@pytest.mark.parametrize(
    ("begun", "keep", "added", "answer"),
    [
        (Begun("A temple.", ""), "none", " It flies.", " It flies."),
        (Begun("A tem", ""), "none", "ple flies. ", "ple flies."),
        (Begun("A temple.", ""), 0.4, " flies.", " It flies."),
        (Begun("A temple. ", ""), "none", " It flies.", "It flies."),
        (Begun("A temple.", "\n"), "none", " It flies.", "It flies."),
        (Begun("", ""), "none", " It flies.", "It flies."),
        (None, "none", " It flies.", "It flies."),
    ],
)
def test_without_a_joint_the_space_of_the_next_word_stays(
    begun: Begun | None, keep: Any, added: str, answer: str
) -> None:
    row = Example("1", "?", {"chosen": " It is red."}, begun=begun)
    attempt = Attempt(row, EncodedPrompt(torch.tensor([1])), keep, seed=0)
    attempt.next_tasks()
    attempt.take([Added(added, ended=True)])
    assert attempt.answer == answer
