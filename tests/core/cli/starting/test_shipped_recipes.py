"""Shipped recipes: by name from any folder, behind a file of the same name, copied in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe
from mdpo_core.cli import main
from mdpo_core.cli.starting.copying import copy_recipe
from mdpo_core.recipe.shipped import about, recipe_file, shadow_note, shipped_recipe, shipped_recipes
from mdpo_core.recipe.yaml_document import read_document

NAMES = sorted(shipped_recipes())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_recipe_of_the_repository_is_shipped() -> None:
    assert set(shipped_recipes().values()) == set(RECIPES.rglob("*.yaml"))


def test_the_last_part_of_a_name_is_enough() -> None:
    assert shipped_recipe("chip") == shipped_recipe("methods/chip") == shipped_recipe("chip.yaml")
    assert all(shipped_recipe(name.rpartition("/")[2]) == shipped_recipes()[name] for name in NAMES)


def test_list_has_a_line_for_each_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in listed] == list(shipped_recipes())
    assert max(map(len, listed)) <= 120
    assert all(len(line.split()) > 3 for line in listed)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_lets_the_model_answer_a_few_rows_at_its_start_and_end_alone(name: str) -> None:
    [samples] = [each for each in load_recipe(shipped_recipes()[name]).evaluators if each.component_name() == "samples"]
    options = samples.model_dump()
    assert options["every"] is None
    assert options["rows"] * options["max_new_tokens"] <= 4 * 64


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_says_what_the_recipe_says_in_one_file(name: str, here: Path) -> None:
    copied = copy_recipe(name, Path("mine.yaml"))
    assert read_document(copied).data == read_document(shipped_recipes()[name]).data
    text = copied.read_text()
    assert "extends:" not in text
    assert text.startswith("# mdpo-run mine.yaml")
    assert about(copied) == about(shipped_recipes()[name])
    assert max(map(len, text.splitlines())) <= 130
    load_recipe(copied)


def test_a_copy_keeps_the_comments_of_what_it_extends(here: Path) -> None:
    text = copy_recipe("llava_mdpo_no_anchor").read_text()
    assert "share of the picture that is kept" in text
    assert "what fits yours" in text


def test_nothing_is_copied_over_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "copy", "quickstart"]) == 0
    assert "quickstart.yaml" in capsys.readouterr().out
    before = (here / "quickstart.yaml").read_bytes()
    assert main(["recipes", "copy", "quickstart"]) == 2
    assert "quickstart.yaml already exists" in capsys.readouterr().err
    assert (here / "quickstart.yaml").read_bytes() == before
    (here / "link.yaml").symlink_to(here / "nowhere")
    with pytest.raises(RecipeError, match="already exists"):
        copy_recipe("quickstart", Path("link.yaml"))


def test_a_shipped_name_works_where_no_such_file_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("quickstart", "llava_mdpo", "methods/chip", "chip"):
        assert main(["check", name]) == 0
    assert capsys.readouterr().err == ""
    assert load_recipe("quickstart") == load_recipe(RECIPES / "quickstart.yaml")


@pytest.mark.parametrize("local", ["quickstart", "quickstart.yaml"])
def test_a_local_file_wins_and_this_is_said(local: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / local).write_text((RECIPES / "quickstart.yaml").read_text().replace("seed: 0", "seed: 7"))
    assert load_recipe("quickstart").train.seed == 7
    assert main(["check", "quickstart"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"quickstart: reads the file {local} here, not the recipe 'quickstart' that mdpo ships"


def test_a_path_with_its_suffix_is_a_file_and_no_note_is_printed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "quickstart.yaml").write_bytes((RECIPES / "quickstart.yaml").read_bytes())
    assert main(["check", "quickstart.yaml"]) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_of_the_name_is_no_recipe(here: Path) -> None:
    (here / "quickstart").mkdir()
    assert recipe_file(Path("quickstart")) == RECIPES / "quickstart.yaml"
    assert shadow_note(Path("quickstart")) == ""


@pytest.mark.parametrize("words", [["check", "quikstart"], ["run", "quikstart"], ["recipes", "copy", "quikstart"]])
def test_an_unknown_name_is_told_with_the_nearest(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "; did you mean 'quickstart'?  (mdpo recipes lists them)" in capsys.readouterr().err


def test_a_missing_file_with_the_name_of_a_shipped_recipe_is_told_that_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "recipes/quickstart.yaml"]) == 2
    assert "the file does not exist; mdpo ships a recipe of this name: quickstart" in capsys.readouterr().err


@given(st.text(max_size=40))
def test_any_text_is_a_file_a_shipped_name_or_an_error_with_its_place(name: str) -> None:
    told = ""
    try:
        assert isinstance(recipe_file(Path(name)), Path)
    except RecipeError as error:
        told = str(error)
    assert told == "" or "the file does not exist" in told
