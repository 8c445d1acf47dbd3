"""Completion on the command line, as a shell asks for it: by argcomplete's variables, with the real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def completions(line: str, folder: Path) -> set[str]:
    """What a shell offers after ``line``."""
    out = folder / "offered"
    out.touch()
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    entry = "main_run" if line.startswith("mdpo-run") else "main"
    program = f"from mdpo_core.cli import {entry}; {entry}()"
    environment = {**os.environ, **asked, "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SHELL": "fish"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=folder, timeout=60, capture_output=True)
    return {word.partition("\t")[0].strip() for word in out.read_text().splitlines()}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mdpo new", {"new-plugin", "new-recipe"}),
        ("mdpo check --da", {"--data"}),
        ("mdpo-run quick", {"quickstart", "quickstart_dpo", "quickstart_dpo_no_image", "quickstart_no_anchor"}),
        ("mdpo-run --res", {"--resume"}),
        ("mdpo check mi", {"mine.yaml"}),
        ("mdpo recipes copy methods/ch", {"methods/chip", "methods/chip_release"}),
        ("mdpo plugins lo", {"loss"}),
        ("mdpo plugins anchor re", {"reward"}),
        ("mdpo new-plugin x --kind eval", {"evaluator"}),
    ],
)
def test_words_are_completed(line: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "minutes.txt").touch()
    assert completions(line, tmp_path) == offered


def test_without_a_shell_that_asks_argcomplete_is_not_imported() -> None:
    program = "import sys, mdpo_core.cli as cli\ntry: cli.main([])\nfinally: assert 'argcomplete' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
