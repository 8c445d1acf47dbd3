"""A third party's format: the class of docs/data.md, installed by pip, recognized, and contract-tested."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.paths import DATA, ROOT
from support.processes.own_environment import make_environment, pip_install, run_module

MOST_LINES = 25
PROJECT = """[project]
name = "mdpo-quiz"
version = "0.1"
entry-points.mdpo.quiz = "mdpo_quiz"
[tool.setuptools]
py-modules = ["mdpo_quiz"]
"""
CONTRACT = """from pathlib import Path
from mdpo_core import component
from mdpo_core.testing import check_reader

def test_the_format_keeps_the_contract():
    here = Path(__file__).parent
    check_reader(component("reader", "quiz", path=str(here / "quiz.jsonl"), images=here))
"""


@pytest.mark.long
def test_the_format_of_the_page_works_installed(tmp_path: Path) -> None:
    [module] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    assert len([line for line in module.splitlines() if line.strip()]) <= MOST_LINES
    source, mine = tmp_path / "source", tmp_path / "mine"
    source.mkdir()
    mine.mkdir()
    (source / "mdpo_quiz.py").write_text(module)
    (source / "pyproject.toml").write_text(PROJECT)
    python = make_environment(tmp_path / "own")
    pip_install(python, source)
    shutil.copy(DATA / "formats" / "mdpo_release" / "images" / "boat.jpg", mine)
    row = {"q": "What is it?", "good": "A boat.", "bad": "A car.", "pic": "boat.jpg"}
    (mine / "quiz.jsonl").write_text(json.dumps(row))
    (mine / "test_quiz.py").write_text(CONTRACT)
    told = run_module(python, "mdpo_core.cli", "data", "mine/quiz.jsonl", cwd=tmp_path)
    assert told.stdout.splitlines()[:1] == ["data: {reader: quiz, path: mine/quiz.jsonl, images: mine}"], told.stderr
    tested = run_module(python, "pytest", "-q", "--rootdir", str(mine), "mine/test_quiz.py", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
