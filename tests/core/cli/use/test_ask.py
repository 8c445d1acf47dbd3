"""`mdpo ask`: what is printed, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from support.paths import LLAVA_MDPO

from mdpo_core import load_recipe, load_trained, run
from mdpo_core.cli import main

QUESTION = "What is in the picture?"


@pytest.fixture(scope="session")
def asked_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without LoRA that changes what the model says."""
    folder = tmp_path_factory.mktemp("asked") / "run"
    kept = [change for change in changes if not change.startswith("model.lora")]
    more = ["train.epochs=1", "train.learning_rate=3.0e-2", "reference=auto", "model.lora=null"]
    return run(load_recipe(LLAVA_MDPO, [*kept, *more, f"output.dir={folder}"])).run_dir


@pytest.fixture(scope="session")
def picture(photographs: Path) -> str:
    return str(sorted(photographs.iterdir())[0])


def words(text: str) -> str:
    return "".join(text.split())


def test_the_answer_alone_is_on_standard_output(
    asked_run: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ask", str(asked_run), "--image", picture, "--prompt", QUESTION, "--max-new-tokens", "12"]
    assert main(command) == 0
    expected = load_trained(asked_run).answer(QUESTION, picture, max_new_tokens=12)
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize("lora", [False, True])
def test_both_answers_stand_side_by_side(
    lora: bool,
    asked_run: Path,
    cached_run: Path,
    llava: Path,
    picture: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mdpo_core import Decoding, Placement, component
    from mdpo_core.use.question import as_example
    from mdpo_core.use.trained import EncodedQuestion

    monkeypatch.setenv("COLUMNS", "80")
    folder = cached_run if lora else asked_run
    assert main(["ask", str(folder), "--image", picture, "--prompt", QUESTION, "--max-new-tokens", "12", "--base"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80, [*map(ascii, lines)]
    [head] = [line for line in lines if "before training" in line]
    middle = head.index("trained")
    columns = ["".join(line[part].rstrip() for line in lines[3:]) for part in (slice(0, middle), slice(middle, None))]
    base = component("adapter", "llava", path=str(llava), prompts="chat")
    asked = EncodedQuestion.of(as_example(QUESTION, [picture]), base.encoder(), None)  # type: ignore[attr-defined]
    untrained = asked.answer_of(base.load(Placement(), trainable=False), Decoding(12))  # type: ignore[attr-defined]
    trained = load_trained(folder).answer(QUESTION, picture, max_new_tokens=12)
    assert [words(column) for column in columns] == [words(untrained), words(trained)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--image", "absent.jpg"], "absent.jpg: the picture does not exist"),
        (["--image", __file__], "test_ask.py: cannot be read as a picture"),
        ([], "the prompt has 1 <image> mark, but there are 0 pictures"),
        (["--image", "PICTURE", "--image", "PICTURE"], "the prompt has 1 <image> mark, but there are 2 pictures"),
        (["--image", "PICTURE", "--top-p", "0.5"], "--top-p has no effect at temperature 0"),
        (["--image", "PICTURE", "--step", "77"], "has no checkpoint of step 77"),
        (["--image", "PICTURE", "--base", "--base-path", "/absent"], "'/absent', is not found: was it moved?"),
    ],
)
def test_a_command_that_cannot_be_answered_is_refused_in_a_sentence(
    more: list[str], message: str, asked_run: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [picture if word == "PICTURE" else word for word in more]
    assert main(["ask", str(asked_run), "--prompt", f"<image> {QUESTION}", *given]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
