"""What the package says about itself: one version, one list of plugins, types, and a license."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest
from support.paths import ROOT

import mdpo_core

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = {folder.name for folder in (ROOT / "plugins").iterdir() if list(folder.glob("*.py"))}
# Packages whose classes and functions third parties import: without py.typed they would get no types.
TYPED = {"mdpo_core", "mdpo_vlm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that pip would install, built from the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [file] = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


def test_every_folder_of_plugins_has_an_entry_point() -> None:
    points = PROJECT["project"]["entry-points"]
    assert set(points["mdpo"].values()) | set(points["pytest11"].values()) == PLUGINS


def test_the_wheel_holds_every_python_file_of_core_and_plugins(wheel: zipfile.ZipFile) -> None:
    sources = {file.relative_to(ROOT) for file in (ROOT / "mdpo_core").rglob("*.py")}
    sources |= {file.relative_to(ROOT / "plugins") for file in (ROOT / "plugins").rglob("*.py")}
    assert {Path(name) for name in wheel.namelist() if name.endswith(".py")} == sources


def test_the_wheel_holds_nothing_beside_its_packages(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mdpo_core", *PLUGINS}


def test_packages_that_third_parties_import_ship_their_types(wheel: zipfile.ZipFile) -> None:
    assert {f"{name}/py.typed" for name in TYPED} <= set(wheel.namelist())


def test_mypy_checks_core_and_plugins_as_folders() -> None:
    assert {"mdpo_core", "plugins"} <= set(PROJECT["tool"]["mypy"]["files"])


def test_the_version_is_written_once(wheel: zipfile.ZipFile) -> None:
    assert "version" not in PROJECT["project"]
    assert metadata(wheel)["Version"] == mdpo_core.__version__ == version("mdpo")


def test_wheel_ships_license_and_attribution_of_the_digits(wheel: zipfile.ZipFile) -> None:
    about = metadata(wheel)
    assert about["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
    files = about.get_all("License-File")
    assert files == ["LICENSE", "NOTICE", "plugins/mdpo_digits/ATTRIBUTION.md"]
    shipped = "\n".join(wheel.namelist())
    assert all(f".dist-info/licenses/{file}" in shipped for file in files)


@pytest.mark.parametrize("words", [["mdpo"], ["mdpo-run"]])
def test_version_is_an_option_of_both_commands(words: list[str]) -> None:
    main = {"mdpo": "main", "mdpo-run": "main_run"}[words[0]]
    program = (
        f"import sys; from mdpo_core.cli import {main}; sys.argv = ['{words[0]}', '--version']\n"
        f"try: {main}()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{words[0]} {mdpo_core.__version__}\n", "")
