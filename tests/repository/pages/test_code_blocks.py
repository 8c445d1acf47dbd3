"""Every code block of the pages is run or read by what it is written for, or says why not.

``<!-- not run: REASON -->`` above a block says why. The blocks of generated pages are compared with the code elsewhere.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import re
import shlex
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML
from support.paths import RECIPES, ROOT

import mdpo
from mdpo_core import MdpoError, load_recipe
from mdpo_core.cli.parser import build_parser, parsed
from mdpo_core.registry.discovery import Registry, current_registry, use_registry

GENERATED = {"known-plugins.md", "api.md", "cli.md", "recipe-keys.md", "methods.md", "metrics.md"}
PAGES = [page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if page.name not in GENERATED]
# Pages whose blocks of a language a test of their own runs, with the name of that test.
RUN_ELSEWHERE = {
    ("docs/data.md", "python"): "test_the_format_of_the_page_works_installed",
    ("docs/extend/add-a-model.md", "python"): "test_the_model_of_the_page_is_added_by_what_the_page_says",
    ("docs/extend/add-a-model.md", "toml"): "test_the_model_of_the_page_is_added_by_what_the_page_says",
    ("docs/extend/hooks.md", "python"): "test_a_run_calls_its_hooks_in_the_documented_order",
    ("docs/extend/stability.md", "python"): "test_a_deprecated_hook_warns_once_with_the_plugin_s_file",
    ("docs/extend/write-a-plugin.md", "python"): "test_example_plugin_equals_the_page_and_works_installed",
    ("docs/guides/models.md", "python"): "test_the_thinker_of_a_whole_model_is_saved_as_the_page_says",
    ("docs/guides/video.md", "yaml"): "test_the_recipe_of_the_guide_to_videos_is_one",
    ("docs/tutorial.md", "python"): "test_the_tutorial_prints_what_it_shows",
    ("README.md", "yaml"): "test_the_recipe_of_the_readme_is_the_paper_s_run",
}
# Commands of other programs, and of the shell.
OTHERS = {".", "cd", "ls", "cat", "pytest", "pre-commit"}
MARK = re.compile(r"<!-- not run: (?P<reason>.{10,}?) -->\s*$")


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    skipped: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            above = text[: found.start()]
            name = str(page.relative_to(ROOT))
            yield Block(name, above.count("\n") + 1, found[1], found[2], MARK.search(above) is not None)


BLOCKS = list(blocks())


def of(*languages: str) -> list[Block]:
    return [
        block
        for block in BLOCKS
        if block.language in languages and not block.skipped and (block.page, block.language) not in RUN_ELSEWHERE
    ]


def test_every_language_of_a_block_is_known() -> None:
    assert {block.language for block in BLOCKS} <= {
        "",
        "bash",
        "floors",
        "json",
        "python",
        "sh",
        "text",
        "toml",
        "yaml",
    }


def test_tests_that_run_other_blocks_exist() -> None:
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in set(RUN_ELSEWHERE.values()) if f"def {name}" not in tests] == []


def test_marks_of_blocks_that_are_not_run_stand_above_a_block() -> None:
    marks = sum(len(re.findall("^<!-- not run", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert marks == sum(block.skipped for block in BLOCKS)


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block; a backslash continues a line, and `&&` and pipes begin another command."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"^(\w+=\S+ )+", "", re.sub(r"^\w+=\$\(.*\)$", "", line))
        yield from (words for words in [shlex.split(line, comments=True)] if words)


@pytest.mark.parametrize("block", of("sh", "bash"), ids=str)
def test_every_command_is_one(block: Block) -> None:
    for words in commands(block.text):
        require_command(words)


def require_command(words: list[str]) -> None:
    name, *others = words
    if name == "--resume":  # what is added to a command above it
        parse(["run", "RECIPE", *words])
    elif name in {"mdpo", "mdpo-run"}:
        parse([*(["run"] if name == "mdpo-run" else []), *others])
    elif name in {"torchrun", "deepspeed", "srun"}:
        parse(others[others.index("mdpo_core.cli") + 1 :])
    elif name == "make":
        assert re.search(rf"^{others[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif name == "python" and others[0] == "-m":
        assert importlib.util.find_spec(others[1]), words
    elif name == "python":
        assert others[0] == "prepare.py" or (ROOT / others[0]).is_file(), words
    elif name == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"mdpo\[(\w+)\]", " ".join(others))) <= extras.keys(), words
    else:
        assert name in OTHERS, words


def parse(words: list[str]) -> None:
    """Raise `AssertionError` unless the command line takes these words, and knows the recipe if it is of `recipes/`."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            parsed(build_parser(), [word for word in words if word != "$resume"])
        except SystemExit:
            raise AssertionError(f"{shlex.join(words)}: {errors.getvalue()}") from None
    for word in words:
        assert not word.startswith("recipes/") or (ROOT / word).is_file(), words


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_every_part_of_a_recipe_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that extends a shipped one by the block. The files that it names are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "things.txt").write_text("dog\n")
    asked = {"question_id": 1, "image": "photo.jpg", "text": "Is there a dog?", "label": "yes"}
    for kind in ("random", "popular", "adversarial"):
        (tmp_path / f"coco_pope_{kind}.json").write_text(json.dumps(asked))
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "photo.jpg").touch()
    sections = YAML(typ="safe").load(block.text)
    changes = ["backend.precision=fp32"] if "backend" not in sections else []
    changes += ["evaluators=[]", "reference=auto"] if "data" in sections and "evaluators" not in sections else []
    problems = []
    for base in ("llava_mdpo", "qwen2_5_vl_mdpo", "qwen2_5_vl_video"):
        recipe = tmp_path / f"{base}.yaml"
        recipe.write_text(f"extends: {RECIPES / base}.yaml\n{block.text}")
        try:
            load_recipe(recipe, changes)
        except MdpoError as error:
            problems.append(error)
        else:
            return
    raise problems[0]


def test_the_formats_of_the_page_on_data_are_those_of_the_readers() -> None:
    sys.path.insert(0, str(ROOT / "scripts" / "docs"))
    from make_data import PAGE, page

    assert PAGE.read_text() == page(), "run: python scripts/docs/make.py data.md"


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_every_object_is_valid(block: Block) -> None:
    for line in block.text.splitlines():
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_every_table_is_valid(block: Block) -> None:
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_every_program_runs(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    before = current_registry()
    use_registry(Registry.discover())  # a class that a page defines gets a name
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.text, str(block), "exec"), {"__name__": "page"})
    finally:
        use_registry(before)


def test_a_name_that_a_page_imports_is_public() -> None:
    for block in BLOCKS:
        is_program = block.language == "python" and block.page != "docs/extend/hooks.md"
        for node in ast.walk(ast.parse(textwrap.dedent(block.text))) if is_program else ():
            if isinstance(node, ast.ImportFrom) and node.module in {"mdpo", "mdpo_core"}:
                assert {each.name for each in node.names} <= {*dir(mdpo), *dir(__import__("mdpo_core"))}, str(block)
