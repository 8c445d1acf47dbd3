"""Errors speak of options to whoever called a command, and of arguments to whoever called from Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import RECIPES, ROOT

from mdpo_core import RecipeError, load_recipe, run
from mdpo_core.cli.main import main
from mdpo_core.remedies import either, in_words_of_commands, option

CORE = ROOT / "mdpo_core"
# Only commands run this code: `launch` and `profile` start from one, and nobody else gives the name of a card. A sweep
# writes the words of commands that it starts.
OF_COMMANDS = (
    "cli/",
    "sweeping/source.py",
    "processes/launcher.py",
    "processes/end_signals.py",
    "profiling/",
    "memory/cards.py",
)
OF_OTHERS = ("--shm-size", "mdpo-run recipes/", "mdpo-run ")  # docker's option; how the first line of a recipe begins
_OPTION = re.compile(r"(?<![\w-])--([a-z]|$)|\bmdpo (check|recipes|export|run) |mdpo-run")


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        ("--run-dir DIR", "run_dir=DIR"),
        ("--resume", "resume=True"),
        ("--resume --accept-changed-code", "resume=True, accept_changed_code=True"),
        ("--scores", "scores"),
        ("--max-new-tokens 3", "max_new_tokens=3"),
    ],
)
def test_an_option_is_an_argument_in_python(words: str, argument: str) -> None:
    assert option(words) == argument
    with in_words_of_commands():
        assert option(words) == words
        assert either("a command", "Python") == "a command"
    assert either("a command", "Python") == "Python"


def test_a_call_from_python_is_answered_in_python_and_a_command_in_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("")
    recipe = load_recipe("quickstart")
    with pytest.raises(RecipeError, match=r"is not a run directory; choose another directory with run_dir=DIR$"):
        run(recipe, run_dir=tmp_path)
    assert main(["run", str(RECIPES / "quickstart.yaml"), "--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip().endswith("choose another directory with --run-dir DIR")
    with pytest.raises(RecipeError, match=r"^the change train\.sed=1: train.sed: unknown option"):
        load_recipe("quickstart", ["train.sed=1"])
    assert main(["check", str(RECIPES / "quickstart.yaml"), "--set", "train.sed=1"]) == 2
    assert capsys.readouterr().err.startswith("--set train.sed=1: train.sed: unknown option")


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", None) or getattr(call.func, "attr", ""))


def literals(tree: ast.AST) -> Iterator[str]:
    """The texts of a module that are neither docstrings nor arguments of `option` and `either`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Call) and _called(node) in ("option", "either", "removeprefix"):
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        yield from literals(node)


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda file: str(file.relative_to(CORE)))
def test_no_text_of_the_core_names_an_option_in_the_words_of_commands_alone(file: Path) -> None:
    if str(file.relative_to(CORE)).startswith(OF_COMMANDS):
        return
    texts = literals(ast.parse(file.read_text()))
    assert [text for text in texts if _OPTION.search(text) and not any(other in text for other in OF_OTHERS)] == []
