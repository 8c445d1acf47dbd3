"""A virtual environment of a plugin's own, which sees what these tests run with."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from support.paths import ROOT


def make_environment(folder: Path) -> Path:
    """Its Python."""
    venv.create(folder, with_pip=False)
    [site] = folder.glob("lib/python*/site-packages")
    # As a site of its own, so that editable installs are seen, too.
    (site / "beside.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


def pip_install(python: Path, *sources: Path) -> None:
    """Install packages as their users do, but without asking a registry for what builds them."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *map(str, sources)], check=True, capture_output=True)


def run_module(python: Path, *words: str, cwd: Path, more_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m`` with the tree of these tests, and of pytest's plugins only what is named."""
    path = os.pathsep.join(map(str, [ROOT, ROOT / "plugins", *([more_path] if more_path else [])]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([str(python), "-m", *words], capture_output=True, text=True, env=environment, cwd=cwd)
