"""The page tutorial.md: runs its commands in an empty folder, and puts what they print below them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
SKIP = "<!-- not run"
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```\n", re.MULTILINE | re.DOTALL)
PICTURE = ROOT / "docs" / "pictures" / "tutorial.png"
# What libraries print.
_NOISE = re.compile(r"^(\[\d{4}-|Loading weights:).*\n", re.MULTILINE)


def page(picture: Path | None = PICTURE) -> str:
    """The page with fresh outputs; writes the curves of its run into ``picture``."""
    with tempfile.TemporaryDirectory(prefix="mdpo-tutorial-") as folder:
        text = "".join(_filled(PAGE.read_text(), Path(folder)))
        if picture is not None:
            shutil.copy(Path(folder) / "runs" / "my" / "curves.png", picture)
    return text


def _filled(text: str, folder: Path) -> Iterator[str]:
    text = re.sub(r"\n```text\n.*?^```\n", "", text, flags=re.MULTILINE | re.DOTALL)
    end = 0
    for block in _FENCE.finditer(text):
        yield text[end : block.end()]
        skipped = text[: block.start()].rstrip().rpartition("\n")[2].startswith(SKIP)
        output = "" if skipped else _run(block["language"], block["text"], folder)
        if output:
            yield f"\n```text\n{output}\n```\n"
        end = block.end()
    yield text[end:]


def _run(language: str, text: str, folder: Path) -> str:
    """What a block prints. The first Python block is the file that the page names, which a command runs."""
    if language == "python" and not (folder / "prepare.py").exists():
        (folder / "prepare.py").write_text(text)
        return ""
    if language == "python":
        return _output([sys.executable, "-c", text], folder)
    lines = text.splitlines() if language == "sh" else []
    return "\n".join(filter(None, (_output(_words(line), folder) for line in lines)))


def _words(line: str) -> list[str]:
    """The command of a line, by this interpreter."""
    name, *others = shlex.split(line, comments=True)
    cli = [sys.executable, "-m", "mdpo_core.cli"]
    known = {"mdpo": cli, "mdpo-run": [*cli, "run"], "python": [sys.executable]}
    return [*known.get(name, [name]), *others]


def _output(words: list[str], folder: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"{shlex.join(words)} failed:\n{ran.stdout}")
    lines = (line.rstrip() for line in _NOISE.sub("", ran.stdout).splitlines())
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    PAGE.write_text(page())
