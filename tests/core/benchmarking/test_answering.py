"""`mdpo answer`: what a model says to a benchmark's questions, and the file that holds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core.cli import main

ASKED = ("Is there a temple in the image?", "Is there a flower in the image?", "Is there <image> in the image?")


@pytest.fixture
def questions(photographs: Path, tmp_path: Path) -> Path:
    """Twelve questions of POPE about four pictures; one has a word in it that is a mark elsewhere."""
    pictures = sorted(file.name for file in photographs.iterdir())[:4]
    rows = [
        {"question_id": number, "image": pictures[number % 4], "text": ASKED[number // 4], "label": "yes"}
        for number in range(12)
    ]
    file = tmp_path / "questions.json"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def words(model: Path, questions: Path, photographs: Path, out: Path) -> list[str]:
    asked = ["--model", str(model), "--questions", str(questions), "--images", str(photographs)]
    return ["answer", "pope", *asked, "--out", str(out), "--max-new-tokens", "8", "--batch-size", "2"]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def plain_answers(model: Path, rows: Sequence[dict[str, Any]], photographs: Path) -> list[str]:
    """What transformers alone answers, one question at a time; a mark that is plain text would be a second picture."""
    processor = AutoProcessor.from_pretrained(model, backend="pil")
    loaded = AutoModelForImageTextToText.from_pretrained(model)
    answers = []
    for row in rows:
        with PIL.Image.open(photographs / row["image"]) as picture:
            text = f"USER: <image>\n{row['prompt']} ASSISTANT:"
            inputs = processor(images=picture.convert("RGB"), text=text, return_tensors="pt")
        with torch.no_grad():
            made = loaded.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        answers.append(processor.tokenizer.decode(made, skip_special_tokens=True).strip())
    return answers


@pytest.fixture
def recipe(changes: list[str], tmp_path: Path) -> Path:
    values = dict(change.split("=", 1) for change in changes)
    file = tmp_path / "recipe.yaml"
    file.write_text(f"model: {{adapter: llava, path: {values['model.path']}}}\nbackend: {{backend: local}}\n")
    return file


def test_answers_are_those_of_plain_transformers(
    recipe: Path, llava: Path, questions: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.jsonl"
    assert main(words(recipe, questions, photographs, out)) == 0
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(12)]
    assert rows[0].keys() == {"id", "image", "prompt", "response", "settings", "model"}
    plain = [row for row in rows if "<image>" not in row["prompt"]]
    assert [row["response"] for row in plain] == plain_answers(llava, plain, photographs)
    assert main(["score", "pope", "--answers", str(out), "--questions", str(questions)]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_stopped_command_goes_on_to_the_same_bytes(
    recipe: Path, questions: Path, photographs: Path, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    assert main(words(recipe, questions, photographs, whole)) == 0
    partial = stopped.with_name(f"{stopped.name}.partial")
    command = [sys.executable, "-m", "mdpo_core.cli", *words(recipe, questions, photographs, stopped)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if partial.exists() and partial.stat().st_size:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert not stopped.exists()
    with partial.open("ab") as file:
        file.write(b'{"row": 9, "resp')  # a line that was being written
    assert main(words(recipe, questions, photographs, stopped)) == 0
    assert stopped.read_bytes() == whole.read_bytes()
    assert main(words(recipe, questions, photographs, stopped)) == 0


def test_missing_pictures_are_all_named_before_a_model_is_loaded(
    recipe: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(words(recipe, questions, empty, tmp_path / "a.jsonl")) == 2
    said = capsys.readouterr().err
    assert "4 of 4 pictures are missing" in said
    assert all(name in said for name in {json.loads(line)["image"] for line in questions.read_text().splitlines()})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--max-new-tokens", "7"], "was written or begun with other settings"),
        (["--suffix", " Yes or no?"], "was written or begun with other settings"),
    ],
)
def test_answers_of_other_settings_are_not_mixed(
    recipe: Path,
    questions: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    says: str,
) -> None:
    out = tmp_path / "answers.jsonl"
    assert main(words(recipe, questions, photographs, out)) == 0
    before = out.read_bytes()
    assert main([*words(recipe, questions, photographs, out), *changed]) == 1
    assert says in capsys.readouterr().err
    assert out.read_bytes() == before
