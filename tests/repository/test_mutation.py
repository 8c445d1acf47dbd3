"""The mutation check, tried on a file of three lines."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

SOURCE = """def area(width: float, height: float, unit: str = "m") -> float:
    print(unit.upper())
    return width * height + 0
"""
TEST = """from mdpo_core.room.shapes import area

def test_area():
    assert area(2, 3) == 6
"""
# Without a number to add to, 0 and its neighbour are the same.
EXPLAINED = """mdpo_core/room/shapes.py:
  - {line: return width * height + 0, before: width * height + 0, after: width * height, why: 0 adds nothing}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    texts = {
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["long: x", "nightly: x", "gpu: x"]\n',
        "mdpo_core/room/shapes.py": SOURCE,
        "mdpo_core/room/__init__.py": "",
        "mdpo_core/__init__.py": "",
        "tests/core/room/test_shapes.py": TEST,
        "tools/mutation/mutants_explained.yaml": EXPLAINED,
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def check(tree: Path, *arguments: str, file: str = "mdpo_core/room/shapes.py") -> subprocess.CompletedProcess[str]:
    # The tool is this checkout's, the tree that it reads is the one it is started in.
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.mutation.__main__ import main; main()"
    command = [sys.executable, "-c", program, file, *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def test_mutant_is_caught_explained_or_reported_and_tree_stays(tree: Path) -> None:
    done = check(tree)
    assert "width * height  ->  width / height: caught (tests/core/room/test_shapes.py::test_area)" in done.stdout
    assert "width * height + 0  ->  width * height: survived; explained: 0 adds nothing" in done.stdout
    assert "line 2: print(unit.upper())  ->  pass: SURVIVED" in done.stdout
    assert done.returncode == 1
    assert (tree / "mdpo_core/room/shapes.py").read_text() == SOURCE


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("mdpo_core/room/shape.py", "shape.py is neither a folder nor a Python file"),
        ("pyproject.toml", "pyproject.toml is neither a folder nor a Python file"),
        (str(ROOT / "mdpo_core/errors.py"), "errors.py is not in "),
    ],
)
def test_what_cannot_be_mutated_is_named_in_a_sentence(file: str, reason: str, tree: Path) -> None:
    done = check(tree, file=file)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_listed_files_and_their_tests_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    suites = importlib.import_module("tools.mutation.suites")
    listed = {*suites.TERM_TESTS, *suites.ELSEWHERE, *(test for tests in suites.ELSEWHERE.values() for test in tests)}
    assert [name for name in sorted(listed) if not (ROOT / name).is_file()] == []
