"""`mdpo new-recipe`: from a model, a file of rows and pictures to a recipe that trains, without a detour."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders.small_vlms import build_vlm

from mdpo_core import load_recipe
from mdpo_core.cli import main
from mdpo_core.cli.starting.sizes import Sizes

Row = dict[str, object]


@pytest.fixture
def mine(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 20 photographs and pairs about them, written by hand; commands start there."""
    (tmp_path / "photos").mkdir()
    rows = []
    sources = sorted(photographs.iterdir())
    for number in range(20):
        with PIL.Image.open(sources[number % len(sources)]) as picture:
            picture.convert("RGB").resize((64 + number, 48)).save(tmp_path / "photos" / f"{number}.jpg")
        answers = {"chosen": f"A temple, number {number}.", "rejected": f"A pink flower, number {number}."}
        rows.append({"image": f"{number}.jpg", "question": "What is in the picture?", **answers})
    write(tmp_path / "pairs.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, rows: Sequence[Row]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def last_step(run: Path) -> int:
    return int(rows_of(run / "metrics.jsonl")[-1]["step"])


def new_recipe(model: Path, *more: str) -> int:
    given = ["--model", str(model), "--data", "pairs.jsonl", "--images", "photos", "--out", "my.yaml"]
    return main(["new-recipe", *given, *more])


def test_own_photographs_train_a_llava_without_a_detour(
    mine: Path, llava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_recipe(llava) == 0
    assert "mdpo-run my.yaml" in capsys.readouterr().out
    text = (mine / "my.yaml").read_text()
    assert text.startswith("# mdpo-run my.yaml\n")
    assert all("#" in line or line.endswith(":") for line in text.splitlines() if line.strip())
    assert main(["check", "my.yaml", "--data"]) == 0
    assert main(["run", "my.yaml"]) == 0
    assert (mine / "runs" / "my" / "final").is_dir()
    assert main(["ask", "runs/my", "--image", "photos/0.jpg", "--prompt", "What is in the picture?"]) == 0
    metrics = (mine / "runs" / "my" / "metrics.jsonl").read_text()
    for name in ("eval/preference/rewards/accuracy/picture", "rewards/accuracy/text", "loss/anchor"):
        assert f'"{name}"' in metrics
    recipe = load_recipe("my.yaml")
    assert recipe.model.component_name() == "llava"
    assert [each.component_name() for each in recipe.evaluators] == ["preference", "samples"]
    answered = [json.loads(line) for line in (mine / "runs" / "my" / "samples.jsonl").read_text().splitlines()]
    assert {line["held_out"] for line in answered} == {True}
    assert {line["step"] for line in answered} == {0, last_step(mine / "runs" / "my")}


@pytest.mark.long
def test_own_photographs_train_a_qwen_without_a_detour(mine: Path, tmp_path: Path) -> None:
    model = build_vlm("qwen2_5_vl", tmp_path / "qwen")
    assert new_recipe(model) == 0
    recipe = load_recipe("my.yaml")
    assert recipe.model.component_name() == "chat_vlm"
    assert main(["run", "my.yaml"]) == 0
    assert (mine / "runs" / "my" / "final").is_dir()
    assert main(["ask", "runs/my", "--image", "photos/0.jpg", "--prompt", "What is in the picture?"]) == 0


def test_dpo_has_no_term_about_the_picture(mine: Path, llava: Path) -> None:
    assert new_recipe(llava, "--method", "dpo") == 0
    assert load_recipe("my.yaml").labels() == ("text",)
    assert main(["check", "my.yaml", "--data"]) == 0


def test_ready_made_prompts_are_used_as_they_are(mine: Path, llava: Path) -> None:
    rows = renamed(renamed(rows_of(mine / "pairs.jsonl"), "question", "prompt"), "image", "img_path")
    write(mine / "pairs.jsonl", [{**row, "prompt": f"USER: <image>\n{row['prompt']} ASSISTANT:"} for row in rows])
    assert new_recipe(llava) == 0
    assert load_recipe("my.yaml").to_dict()["model"]["prompts"] == "ready"
    assert main(["check", "my.yaml", "--data"]) == 0


def test_all_rows_about_one_picture_leave_none_to_hold_out(mine: Path, llava: Path) -> None:
    write(mine / "pairs.jsonl", [{**row, "image": "0.jpg"} for row in rows_of(mine / "pairs.jsonl")])
    assert new_recipe(llava) == 0
    recipe = load_recipe("my.yaml")
    assert recipe.data.hold_out is None
    assert [each.component_name() for each in recipe.evaluators] == ["samples"]
    assert main(["check", "my.yaml", "--data"]) == 0


def test_five_rows_about_each_picture_are_held_out_together(mine: Path, llava: Path) -> None:
    rows = rows_of(mine / "pairs.jsonl")
    write(mine / "pairs.jsonl", [{**row, "chosen": f"{row['chosen']} {n}"} for row in rows[:4] for n in range(5)])
    assert new_recipe(llava) == 0
    assert main(["check", "my.yaml", "--data"]) == 0
    assert load_recipe("my.yaml").data.hold_out is not None


def test_a_long_row_gets_a_limit_that_it_fits(mine: Path, llava: Path) -> None:
    rows = rows_of(mine / "pairs.jsonl")
    rows[3]["chosen"] = "A temple. " * 250
    write(mine / "pairs.jsonl", rows)
    assert new_recipe(llava) == 0
    assert main(["check", "my.yaml", "--data"]) == 0
    assert load_recipe("my.yaml").to_dict()["model"]["max_length"] > 1024


def test_bad_rows_are_told_and_the_recipe_is_written(
    mine: Path, llava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(mine / "pairs.jsonl")
    rows[4]["image"] = "nowhere.jpg"
    write(mine / "pairs.jsonl", rows)
    assert new_recipe(llava) == 0
    out = capsys.readouterr().out
    assert "1 row is bad" in out
    assert "row 5" in out


def test_bad_rows_that_are_not_listed_are_counted(mine: Path, llava: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(mine / "pairs.jsonl")
    for row in rows[:3]:
        row["image"] = "nowhere.jpg"
    for row in rows[3:6]:
        row["rejected"] = row["chosen"]
    write(mine / "pairs.jsonl", rows)
    assert new_recipe(llava) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "on 14 rows" in lines[0]
    assert lines[1].startswith("6 rows are bad, and a run stops at them; mend them")
    assert (sum("pairs.jsonl row" in line for line in lines), lines[7]) == (5, "  ... and 1 more")


def test_one_row_is_called_a_row(mine: Path, llava: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(mine / "pairs.jsonl", rows_of(mine / "pairs.jsonl")[:1])
    assert new_recipe(llava) == 0
    assert main(["data", "pairs.jsonl"]) == 0
    assert main(["check", "my.yaml", "--data"]) == 0
    out = capsys.readouterr().out
    assert "on 1 row\n" in out
    assert "  1 row with the columns" in out
    assert not re.search(r"\b1 (rows|pairs|steps|tokens|pictures)\b", out)
    assert "0.0 GB" not in out


def renamed(rows: Sequence[Row], old: str, new: str) -> list[Row]:
    return [{new if key == old else key: value for key, value in row.items()} for row in rows]


def without_pictures(rows: Sequence[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "image"} for row in rows]


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        (lambda here: None, ["--model", "nowhere"], "the folder does not exist"),
        (lambda here: None, ["--model", "photos"], "config.json: is missing"),
        (lambda here: None, ["--data", "nothing.jsonl"], "nothing.jsonl"),
        (lambda here: None, ["--images", "nothing"], "nothing"),
        (lambda here: (here / "my.yaml").touch(), [], "my.yaml already exists"),
        (
            lambda here: write(here / "pairs.jsonl", renamed(rows_of(here / "pairs.jsonl"), "chosen", "what")),
            [],
            "chosen",
        ),
        (
            lambda here: write(here / "pairs.jsonl", without_pictures(rows_of(here / "pairs.jsonl"))),
            [],
            "use --method dpo",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    spoil: Callable[[Path], None],
    words: list[str],
    message: str,
    mine: Path,
    llava: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(mine)
    assert new_recipe(llava, *words) == 2
    assert message in capsys.readouterr().err
    assert not (mine / "my.yaml").exists() or (mine / "my.yaml").read_text() == ""


def test_what_is_missing_is_named_without_a_terminal_and_asked_on_one(
    mine: Path, llava: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["new-recipe", "--data", "pairs.jsonl"]) == 2
    assert "--model, --out" in capsys.readouterr().err
    answers = iter(["my.yaml", str(llava)])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert main(["new-recipe", "--data", "pairs.jsonl"]) == 0
    assert load_recipe("my.yaml").to_dict()["data"]["images"] == "photos"


def answering(answers: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that a person gets who gives these answers, as far as they are asked."""
    asked: list[str] = []
    left = iter(answers)

    def answer(question: str) -> str:
        asked.append(question)
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    return asked


def test_a_slip_in_an_answer_is_told_and_asked_again(
    mine: Path,
    llava: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (mine / "taken.yaml").touch()
    far = (mine / "photos").rename(tmp_path_factory.mktemp("elsewhere") / "far")
    (mine / "a").mkdir()
    slips = {
        "": "type an answer",
        "taken.yaml": "taken.yaml already exists",
        "no/my.yaml": "the folder no does not exist",
        "a": "a is a folder; name a file in it, such as a/my.yaml",
    }
    of_model = {"nowhere": "the folder does not exist", str(far / "0.jpg"): "0.jpg"}
    of_rows = {"nothing.jsonl": "nothing.jsonl"}
    of_pictures = {"nowhere": "this folder does not exist"}
    words = [*slips, "my.yaml", *of_model, str(llava), *of_rows, "pairs.jsonl", *of_pictures, f"'{far}' "]
    asked = answering(words, monkeypatch)
    assert main(["new-recipe"]) == 0
    out = capsys.readouterr().out
    for said in (*slips.values(), *of_model.values(), *of_rows.values(), *of_pictures.values()):
        assert said in out
    assert [question.partition(" (")[0] for question in dict.fromkeys(asked)] == [
        "the recipe to write",
        "the model",
        "the rows",
        "the folder of the pictures: ",
    ]
    assert load_recipe("my.yaml").to_dict()["data"]["images"] == str(far)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "taken.yaml"], "taken.yaml already exists"),
        (["--out", "no/my.yaml"], "the folder no does not exist"),
        (["--out", "photos"], "photos is a folder"),
        (["--model", "nowhere"], "the folder does not exist"),
        (["--data", "nothing.jsonl"], "nothing.jsonl"),
        (["--images", "nothing"], "--images nothing: this folder does not exist"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_asked(
    words: list[str],
    message: str,
    mine: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (mine / "taken.yaml").touch()
    asked = answering([], monkeypatch)
    assert main(["new-recipe", *words]) == 2
    assert (asked, message in capsys.readouterr().err) == ([], True)


def test_a_folder_that_cannot_be_written_is_refused(
    mine: Path, llava: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    assert new_recipe(llava, "--out", "photos/my.yaml") == 2
    assert (
        "photos/my.yaml cannot be written: this account may not write into the folder photos" in capsys.readouterr().err
    )


def test_no_answer_writes_nothing(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(["my.yaml"], monkeypatch)
    assert main(["new-recipe"]) == 2
    assert "no answer; nothing was written" in capsys.readouterr().err
    assert not (mine / "my.yaml").exists()


@given(st.integers(1, 10**7), st.integers(0, 10**6))
def test_sizes_fit_every_number_of_rows(train: int, held_out: int) -> None:
    sizes = Sizes.of(train)
    assert 1 <= sizes.micro_batch_size <= sizes.batch_size <= max(1, train)
    assert sizes.batch_size % sizes.micro_batch_size == 0
    steps = sizes.epochs * -(-train // sizes.batch_size)
    assert 1 <= sizes.every <= steps


def test_ready_made_prompts_under_the_names_of_a_published_set_are_used_as_they_are(mine: Path, llava: Path) -> None:
    rows = [
        {**row, "question": f"USER: <image>\n{row['question']} ASSISTANT:"} for row in rows_of(mine / "pairs.jsonl")
    ]
    write(mine / "pairs.jsonl", rows)
    assert new_recipe(llava) == 0
    recipe = load_recipe("my.yaml")
    assert (recipe.data.component_name(), recipe.model.prompts) == ("pairs", "ready")  # type: ignore[attr-defined]
    assert main(["check", "my.yaml", "--data"]) == 0
