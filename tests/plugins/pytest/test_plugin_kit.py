"""What third parties start from: the examples, new packages, and contracts without a line of test code."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.builders.small_vlms import build_vlm
from support.processes.own_environment import ROOT, make_environment, pip_install, run_module

from mdpo_core.cli.new_plugin import write_plugin
from mdpo_core.errors import PluginError
from mdpo_core.registry.offers import KINDS

EXAMPLES = ("mdpo_hinge2", "mdpo_shuffle_tiles", "mdpo_csv", "mdpo_ic_vco", "mdpo_p2_dpo")


HERE = Path(sys.executable)


def tried(python: Path, *plugins: str, cwd: Path, more_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``plugins``: their names; other words are options of pytest."""
    named = [word for plugin in plugins for word in ([plugin] if plugin[0] == "-" else ["--mdpo-plugin", plugin])]
    return run_module(python, "pytest", "-p", "mdpo_pytest", "-rA", *named, cwd=cwd, more_path=more_path)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with all examples."""
    folder = tmp_path_factory.mktemp("examples")
    python = make_environment(folder / "environment")
    # pip leaves its build beside the sources, and a user runs: folders that do not belong to the package.
    sources = [shutil.copytree(ROOT / "examples" / name, folder / "sources" / name) for name in EXAMPLES]
    for source in sources:
        (source / "runs" / "first").mkdir(parents=True)
    pip_install(python, *sources)
    return python


@pytest.mark.long
def test_a_recipe_runs_with_all_examples(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"extends: {os.path.relpath(ROOT / 'recipes' / 'quickstart.yaml', tmp_path)}\n"
        "data: {reader: digits, num_pairs: 32}\n"
        "corruptions: {tiles: {corruption: shuffle_tiles, tiles: 2}}\n"
        "objective: [{loss: hinge2, beta: 0.2}, {loss: hinge2, over: chosen@tiles}]\n"
        "train: {batch_size: 16, micro_batch_size: 16}\n"
        "evaluators: []\n"
        "trackers: [{tracker: csv}]\n"
        "output: {dir: run}\n"
    )
    done = run_module(examples, "mdpo_core.cli", "run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = {str(line["step"]): line["loss"] for line in lines if "loss" in line}
    assert {row["step"]: float(row["loss"]) for row in table if row["loss"]} == losses
    assert len(losses) == 2
    versions = json.loads((tmp_path / "run" / "manifest.json").read_text())["versions"]
    assert all(versions[name.replace("_", "-")] == "0.1" for name in EXAMPLES)


def test_every_component_of_the_examples_is_an_item_that_passes(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_of_somebody_else(): assert False\n")
    # By module, by package and by entry point.
    done = tried(examples, "mdpo_hinge2", "mdpo-shuffle-tiles", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for item in ("mdpo_hinge2::loss-hinge2", "mdpo-shuffle-tiles::corruption-shuffle_tiles", "csv::tracker-csv"):
        assert f"PASSED {item}" in done.stdout
    assert "3 passed" in done.stdout


def install(folder: Path, name: str, source: str) -> None:
    """A plugin of one module, for whoever has the folder in its path."""
    (folder / f"mdpo_{name}.py").write_text(source)
    metadata = folder / f"{name}-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(f"[mdpo]\n{name} = mdpo_{name}\n")


BROKEN = """
from mdpo_core import Corruption, Evaluator, Loss, PairLoss, Reader, Tracker, hookimpl


class Swapped(PairLoss):
    def __call__(self, scores):
        return scores.margin(self.prefer, self.over)


class Rows(Reader):
    path: str

    def open(self):
        return []


class Told(Tracker):
    def start(self, folder):
        raise NotImplementedError

    @classmethod
    def contract(cls, folder):
        assert not list(folder.iterdir())


@hookimpl
def mdpo_components():
    return {"swapped": Swapped, "rows": Rows, "told": Told}
"""


@pytest.mark.long
def test_kit_reports_broken_and_skips_option_needing_component(tmp_path: Path) -> None:
    """A broken component is told in a sentence, and one that needs options is skipped."""
    install(tmp_path, "broken", BROKEN)
    done = tried(HERE, "mdpo_broken", cwd=tmp_path, more_path=tmp_path)
    assert done.returncode == 1
    assert "Swapped prefers 'rejected' over 'chosen'" in done.stdout
    assert "Traceback" not in done.stdout
    assert "check_reader in your own test" in done.stdout
    assert "the reader 'rows' needs the options path" in done.stdout
    assert "PASSED mdpo_broken::tracker-told" in done.stdout
    assert "1 failed, 1 passed, 1 skipped" in done.stdout
    done = tried(HERE, "mdpo_brokn", cwd=tmp_path, more_path=tmp_path)
    assert (done.returncode, "did you mean 'mdpo_broken'?" in done.stderr) == (4, True)


FILE = """
from mdpo_core import PairLoss, register


@register("right")
class Right(PairLoss):
    def __call__(self, scores):
        return -scores.margin(self.prefer, self.over)


@register("swapped")
class Swapped(PairLoss):
    def __call__(self, scores):
        return scores.margin(self.prefer, self.over)
"""


@pytest.mark.long
def test_a_file_is_checked_like_an_installed_plugin(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    done = tried(HERE, "mine.py", cwd=tmp_path)
    assert "PASSED mine.py::loss-right" in done.stdout
    assert "FAILED mine.py::loss-swapped" in done.stdout
    assert "Swapped prefers 'rejected' over 'chosen'" in done.stdout
    done = tried(HERE, "none.py", cwd=tmp_path)
    assert (done.returncode, "none.py: the plugin file does not exist" in done.stderr) == (4, True)


RAISING = """
from mdpo_core import Corruption, Evaluator, PairLoss, Reader, Tracker, hookimpl


def look_closely(thing):
    raise ValueError("nothing to see")


class Blind(PairLoss):
    def __call__(self, scores):
        return look_closely(scores)


class Empty(Blind):
    def __call__(self, scores):
        return None


class Torn(Corruption):
    def apply(self, example, rng, data):
        return look_closely(example)


class Words(Evaluator):
    def evaluate(self, policy, folder, step):
        return "good"


class Gone(Reader):
    def open(self):
        return look_closely(self)


class Told(Tracker):
    def start(self, folder):
        return None

    @classmethod
    def contract(cls, folder):
        look_closely(cls)


@hookimpl
def mdpo_components():
    return {"blind": Blind, "empty": Empty, "torn": Torn, "words": Words, "gone": Gone, "told": Told}
"""


def test_component_error_is_shown_in_few_lines_with_its_place(tmp_path: Path) -> None:
    install(tmp_path, "raising", RAISING)
    done = tried(HERE, "mdpo_raising", cwd=tmp_path, more_path=tmp_path)
    assert "6 failed" in done.stdout
    place = f"{tmp_path / 'mdpo_raising.py'}:6"
    for sentence in (
        f"Blind raised ValueError: nothing to see ({place}) at policy chosen [-1.0]",
        "Empty returns None at policy chosen [-1.0]",
        f"Torn raised ValueError: nothing to see ({place}) for a row with images of 24x17 and the seed 0",
        "Words returns the str 'good' at step 0; it must return a mapping from names to numbers",
        f"Gone raised ValueError: nothing to see ({place}) in open()",
        # Of its own contract no sentence is known.
        "\nValueError: nothing to see\n",
    ):
        assert sentence in done.stdout, done.stdout
    # Where the environment has CI, pytest's summary repeats each of them whole.
    failures, _ = done.stdout.split("short test summary")
    assert failures.count('raise ValueError("nothing to see")') == 4
    assert len(failures.splitlines()) < 6 * 12
    assert not any(word in done.stdout for word in ("hypothesis/", "pluggy/", "Traceback", "mdpo_core/testing"))


@pytest.mark.long
def test_the_whole_trace_is_shown_to_whoever_asks(tmp_path: Path) -> None:
    install(tmp_path, "raising", RAISING)
    done = tried(HERE, "mdpo_raising", "--full-trace", cwd=tmp_path, more_path=tmp_path)
    assert "hypothesis/" in done.stdout


def test_pytest_without_option_costs_nothing_and_runs_own_tests(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own(): assert not {'torch', 'hypothesis', 'mdpo_core', 'pydantic'} & set(sys.modules)\n"
    )
    done = run_module(HERE, "pytest", "-p", "mdpo_pytest", cwd=tmp_path)
    assert "1 passed" in done.stdout


def test_pytest_finds_the_option_by_the_project_s_entry_point() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"mdpo": "mdpo_pytest"}
    assert (ROOT / "plugins" / "mdpo_pytest").is_dir()
    assert "plugins" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new package of each kind, all of them installed in its ``environment``."""
    folder = tmp_path_factory.mktemp("written")
    python = make_environment(folder / "environment")
    # Names that are also classes of ours, and what pip builds out of sight.
    made = {kind: write_plugin(f"image_{kind}", kind, folder / kind) for kind in KINDS}
    pip_install(python, *(shutil.copytree(made[kind], folder / "sources" / kind) for kind in KINDS))
    return folder


def python_of(written: Path) -> Path:
    return written / "environment" / "bin" / "python"


def of_each(command: str, recipes: list[Path], written: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """One process that calls ``mdpo command`` for each recipe; its exit code is the highest."""
    program = f"import sys, mdpo_core.cli as cli; sys.exit(max(cli.main([{command!r}, file]) for file in sys.argv[1:]))"
    (cwd / "of_each.py").write_text(program)
    return run_module(python_of(written), "of_each", *map(str, recipes), cwd=cwd, more_path=cwd)


@pytest.mark.long
def test_new_packages_of_all_kinds_keep_their_contracts(written: Path, tmp_path: Path) -> None:
    done = tried(python_of(written), *(f"mdpo_image_{kind}" for kind in KINDS), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "10 passed, 1 skipped" in done.stdout
    assert "the adapter 'image_adapter' needs" in done.stdout


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(["adapter", "loss"], marks=pytest.mark.long),
        pytest.param(list(KINDS), marks=pytest.mark.nightly(reason="each but the adapter's trains for two steps")),
    ],
    ids=len,
)
def test_new_packages_pass_the_tests_that_they_come_with(kinds: list[str], written: Path) -> None:
    done = [run_module(python_of(written), "pytest", "-p", "mdpo_pytest", "-rA", cwd=written / kind) for kind in kinds]
    assert [(each.returncode, " failed" in each.stdout) for each in done] == [(0, False)] * len(kinds), [
        each.stdout for each in done
    ]
    by_kind = dict(zip(kinds, (each.stdout for each in done), strict=True))
    assert "1 passed, 2 skipped" in by_kind["adapter"]
    assert "test_it_keeps_the_contract_of_its_kind[loss-image_loss]" in by_kind["loss"]


@pytest.mark.long
def test_a_new_adapter_keeps_its_contract_on_a_small_model(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT", str(build_vlm("llava", tmp_path)))
    done = run_module(python_of(written), "pytest", "-p", "mdpo_pytest", cwd=written / "adapter")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.long
def test_the_recipe_of_each_new_package_uses_it_and_is_valid(written: Path, tmp_path: Path) -> None:
    recipes = {kind: written / kind / "recipe.yaml" for kind in KINDS}
    done = of_each("check", list(recipes.values()), written, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for kind, recipe in recipes.items():
        assert f"{kind}: image_{kind}" in recipe.read_text()


@pytest.mark.long
def test_a_run_with_new_packages_of_all_kinds_but_a_model_s(written: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"extends: {os.path.relpath(written / 'corruption' / 'recipe.yaml', tmp_path)}\n"
        "data: {reader: image_reader}\n"
        "objective: [{loss: image_loss, over: chosen@worse}, {anchor: image_anchor}]\n"
        "backend: {backend: image_backend}\n"
        "evaluators: [{evaluator: image_evaluator}]\n"
        "trackers: [{tracker: image_tracker}]\n"
    )
    done = run_module(python_of(written), "mdpo_core.cli", "run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "runs" / "image_corruption" / "image_tracker.txt").read_text()
    assert "step 4:" in log
    assert "eval/image_evaluator/words" in log


KINDS_WITH_RUNS = [kind for kind in KINDS if kind != "adapter"]


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("loss", "reader"), marks=pytest.mark.long),
        pytest.param(
            KINDS_WITH_RUNS, marks=pytest.mark.nightly(reason="one run with all kinds, and two recipes, are in `long`")
        ),
    ],
    ids=len,
)
def test_the_recipes_of_new_packages_run(kinds: Sequence[str], written: Path, tmp_path: Path) -> None:
    recipes = [Path(shutil.copy(written / kind / "recipe.yaml", tmp_path / f"{kind}.yaml")) for kind in kinds]
    done = of_each("run", recipes, written, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/image_*/final"))) == len(kinds)


@pytest.mark.long
def test_the_recipe_of_a_new_adapter_asks_for_its_model(written: Path, tmp_path: Path) -> None:
    recipe = written / "adapter" / "recipe.yaml"
    done = run_module(python_of(written), "mdpo_core.cli", "run", str(recipe), cwd=tmp_path)
    assert done.returncode == 2
    assert "the folder does not exist" in done.stderr


def test_new_package_with_taken_name_or_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name, text in (
        ("dpo", "the plugin 'objectives' already offers the loss 'dpo'"),
        ("llava", "mdpo_llava is already installed"),
        ("core", "mdpo_core is already installed"),
        ("Two Words", "cannot name a plugin"),
        ("2nd", "cannot name a plugin"),
        ("ende_", "cannot name a plugin"),
        ("a" * 51, "cannot name a plugin: it has 51 letters, but the limit is 50"),
    ):
        with pytest.raises(PluginError, match=text):
            write_plugin(name, "loss", tmp_path / "new")
    with pytest.raises(PluginError, match="already exists; choose another folder with --out DIR"):
        write_plugin("mine", "loss", tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_class_hides_nothing_that_its_module_uses(kind: str, tmp_path: Path) -> None:
    for number, name in enumerate(("family", "transformers_adapter", "none", "field", "image", "ordinary")):
        module = ast.parse((write_plugin(name, kind, tmp_path / str(number)) / f"mdpo_{name}.py").read_text())
        imported = {
            alias.asname or alias.name
            for node in ast.walk(module)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        classes = [node.name for node in module.body if isinstance(node, ast.ClassDef)]
        assert len(set(classes)) == len(classes)
        assert not imported & set(classes)
    assert "Ordinary" in classes


def test_new_plugin_says_what_to_do_next(tmp_path: Path) -> None:
    done = run_module(HERE, "mdpo_core.cli", "new-plugin", "mdpo_mine", "--kind", "loss", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cd mdpo_mine" in done.stdout
    assert 'pip install -e ".[test]"\n  pytest\n' in done.stdout
    folder = tmp_path / "mdpo_mine"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        ".github/workflows/tests.yml",
        "LICENSE",
        "README.md",
        "mdpo_mine.py",
        "pyproject.toml",
        "recipe.yaml",
        "tests/test_mine.py",
    ]
    done = run_module(HERE, "mdpo_core.cli", "new-plugin", "mine", "--kind", "loss", cwd=tmp_path)
    assert (done.returncode, "already exists" in done.stderr) == (2, True)
