"""Answers of trained models are those of plain transformers and peft, wherever the model lies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from mdpo_digits.mosaics import PROMPT as ABOUT_DIGITS
from mdpo_digits.pairs import DigitPairs
from peft import PeftModel
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import plain_inputs
from support.paths import RECIPES
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import DataError, Decoding, Example, load_recipe, load_trained, run
from mdpo_core.storage.export import export_run
from mdpo_core.use.question import as_example
from mdpo_core.use.trained import EncodedQuestion

QUESTION = "What is in the picture?"
IN_THE_FORMAT = f"USER: <image>\n{QUESTION} ASSISTANT:"


def plain_answer(model: Any, processor: Path, picture: Path, text: str = IN_THE_FORMAT, num: int = 12) -> str:
    """What transformers generates greedily after a text in the format of the model."""
    made = AutoProcessor.from_pretrained(processor, backend="pil")
    inputs = made(images=PIL.Image.open(picture).convert("RGB"), text=text, return_tensors="pt")
    with torch.no_grad():
        [ids] = model.generate(**inputs, max_new_tokens=num, do_sample=False)
    return str(made.tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def base_of(llava: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(llava)


def test_answer_of_a_run_with_lora_is_that_of_peft(lora_run: Path, llava: Path, picture: Path) -> None:
    expected = plain_answer(PeftModel.from_pretrained(base_of(llava), lora_run / "final"), llava, picture)
    assert expected != plain_answer(base_of(llava), llava, picture)
    model = load_trained(lora_run, device="cpu")
    assert model.answer(QUESTION, picture, max_new_tokens=12) == expected
    # A prompt in the format of the model is not put into the template once more.
    assert model.answer(IN_THE_FORMAT, str(picture), max_new_tokens=12) == expected
    with PIL.Image.open(picture) as opened:
        assert model.answer(QUESTION, opened, max_new_tokens=12) == expected


def test_answer_of_fully_trained_model_needs_no_other_folder(
    full_run: Path, llava: Path, picture: Path, tmp_path: Path
) -> None:
    expected = plain_answer(base_of(full_run / "final"), full_run / "final", picture)
    assert expected != plain_answer(base_of(llava), llava, picture)
    alone = shutil.copytree(full_run / "final", tmp_path / "deep" / "alone")
    assert load_trained(alone, device="cpu").answer(QUESTION, picture, max_new_tokens=12) == expected


def test_model_answers_alike_as_run_as_export_and_merged(
    lora_run: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from another working directory, by a relative path."""
    export_run(lora_run, tmp_path / "merged", merge=True)
    shutil.copytree(lora_run / "final", tmp_path / "copied")
    unfinished = shutil.copytree(lora_run, tmp_path / "unfinished", ignore=shutil.ignore_patterns("final"))
    monkeypatch.chdir(tmp_path)
    places: list[str | Path] = [lora_run, lora_run / "final", "copied", "merged", unfinished]
    answers = {load_trained(each, device="cpu").answer(QUESTION, picture, max_new_tokens=12) for each in places}
    assert len(answers) == 1


def test_an_older_checkpoint_answers_as_its_export_does(full_run: Path, picture: Path, tmp_path: Path) -> None:
    export_run(full_run, tmp_path / "second", step=2)
    expected = plain_answer(base_of(tmp_path / "second"), full_run / "final", picture)
    assert expected != plain_answer(base_of(full_run / "final"), full_run / "final", picture)
    assert load_trained(full_run, step=2, device="cpu").answer(QUESTION, picture, max_new_tokens=12) == expected


def test_drawn_answers_depend_on_the_seed_alone(full_run: Path, picture: Path) -> None:
    model = load_trained(full_run, device="cpu")
    one, again, other = (model.answer(QUESTION, picture, temperature=2.0, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_a_question_that_leaves_no_room_is_refused(full_run: Path, picture: Path) -> None:
    model = load_trained(full_run, device="cpu")
    with pytest.raises(DataError, match=r"the prompt has \d+ tokens.*but the model reads 2048"):
        model.answer("temple " * 3000, picture)


def test_the_answer_ends_where_the_longest_sequence_does(full_run: Path, picture: Path) -> None:
    model, question = load_trained(full_run, device="cpu"), "temple " * 2000
    asked = EncodedQuestion.of(as_example(question, [picture]), model.encoder_of(question), 2048)
    assert asked.room == 2048 - len(asked.prompt.token_ids) < 40
    [ids] = model.model.generate([asked.prompt], Decoding(asked.room))
    assert model.answer(question, picture, max_new_tokens=100_000) == asked.encoder.decode(ids)


def test_the_digits_of_the_quickstart_are_read(tmp_path: Path) -> None:
    small = ["data.num_pairs=32", "evaluators=[]", "trackers=[]", f"output.dir={tmp_path / 'run'}"]
    done = run(load_recipe(RECIPES / "quickstart.yaml", small))
    example = DigitPairs(8, style_cue=1, seed=5, split="held_out")[0]
    model = load_trained(done.run_dir, device="cpu")
    expected = example.responses["chosen"]
    assert isinstance(expected, str)
    answers = {model.answer(text, *example.images) for text in (ABOUT_DIGITS, ABOUT_DIGITS.removeprefix("<image> "))}
    [answer] = answers
    assert answer.split()[:3] == expected.split()[:3] == ["the", "picture", "shows"]


@pytest.mark.parametrize("training", ["lora", pytest.param("full", marks=pytest.mark.long)])
def test_a_qwen_answers_as_plain_transformers(
    training: str, changes: list[str], photographs: Path, picture: Path, tmp_path: Path
) -> None:
    base = build_vlm("qwen2_5_vl", tmp_path / "model")
    kept = [change for change in changes if training == "lora" or not change.startswith("model.lora")]
    more = [*kept, "train.epochs=1", "data.marks=first", f"model.path={base}", "model.unusual_texts=keep"]
    more += [] if training == "lora" else ["model.lora=null", "train.learning_rate=1.0e-2"]
    done = run(load_recipe(RECIPES / "qwen2_5_vl_mdpo.yaml", [*more, f"output.dir={tmp_path / 'run'}"]))
    assert done.final is not None
    plain = base_of(base if training == "lora" else done.final)
    plain = PeftModel.from_pretrained(plain, done.final) if training == "lora" else plain
    with PIL.Image.open(picture) as opened:
        example = Example("1", f"<image>\n{QUESTION}", {}, (opened.convert("RGB").resize((70, 50)),))
    inputs, length = plain_inputs("qwen2_5_vl", base, example, None)
    with torch.no_grad():
        [ids] = plain.generate(**inputs, max_new_tokens=12, do_sample=False)
    model = load_trained(done.run_dir, device="cpu")
    expected = model.encoder_of(QUESTION).decode(ids[length:])
    assert model.answer(QUESTION, *example.images, max_new_tokens=12) == expected
