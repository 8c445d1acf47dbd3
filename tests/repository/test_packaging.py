"""What the package says about itself: one version, one list of plugins, types, and a license."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest
from support.paths import RECIPES, ROOT
from support.processes.own_environment import make_environment, pip_install

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
    sources = {file.relative_to(ROOT) for name in ("mdpo", "mdpo_core") for file in (ROOT / name).rglob("*.py")}
    sources |= {file.relative_to(ROOT / "plugins") for file in (ROOT / "plugins").rglob("*.py")}
    assert {Path(name) for name in wheel.namelist() if name.endswith(".py")} == sources


def test_the_wheel_holds_nothing_beside_its_packages(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mdpo", "mdpo_core", *PLUGINS}


def test_the_wheel_holds_every_recipe(wheel: zipfile.ZipFile) -> None:
    folder = "mdpo_core/shipped_recipes"
    sources = {file.relative_to(RECIPES).as_posix(): file.read_bytes() for file in RECIPES.rglob("*.yaml")}
    shipped = {name for name in wheel.namelist() if name.startswith(f"{folder}/")}
    assert {name.removeprefix(f"{folder}/"): wheel.read(name) for name in shipped} == sources


Command = Callable[..., str]


@pytest.fixture(scope="module")
def command(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a program of an environment in which the wheel is installed, in a folder, and gives what it prints."""
    own = tmp_path_factory.mktemp("own")
    python = make_environment(own)
    pip_install(python, Path(str(wheel.filename)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(folder: Path, *words: str) -> str:
        program = str(python.with_name(words[0]))
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, env=environment, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(own) in run(own, "python", "-c", "import mdpo_core; print(mdpo_core.__file__)")
    return run


def changed(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


FEW = ("data.num_pairs=64", "data.hold_out=null", "train.batch_size=16", "train.micro_batch_size=16")


@pytest.mark.long
def test_the_installed_wheel_trains_the_quickstart_in_an_empty_folder(command: Command, tmp_path: Path) -> None:
    assert "  methods/chip " in command(tmp_path, "mdpo", "recipes")
    command(tmp_path, "mdpo-run", "quickstart", *changed(*FEW, "evaluators=[]"))
    assert (tmp_path / "runs" / "quickstart" / "final").is_dir()
    command(tmp_path, "mdpo", "recipes", "copy", "llava_mdpo_no_anchor", "--out", "mine.yaml")
    command(tmp_path, "mdpo", "check", "mine.yaml")


@pytest.mark.long
def test_the_installed_wheel_trains_in_the_small_world_and_scores_it_from_another_folder(
    command: Command, tmp_path: Path
) -> None:
    trained, other = tmp_path / "trained", tmp_path / "other"
    trained.mkdir()
    other.mkdir()
    shares = [f"evaluators.{number}.share=0.02" for number in (1, 2, 3)]
    command(trained, "mdpo-run", "scenes_mdpo", *changed(*FEW, "validation.num_pairs=16", *shares))
    said = command(other, "mdpo", "eval", "../trained/runs/scenes_mdpo", "--out", "scores")
    for score in ("CHAIRs", "yes_ratio", "Cover"):
        assert score in said
    assert "CHAIRs" in (other / "scores" / "table.md").read_text()


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
