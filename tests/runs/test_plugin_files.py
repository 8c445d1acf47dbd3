"""A run whose loss and corruption are in a file: its processes, its workers, its manifest, and how it resumes."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from support.paths import RECIPES
from support.processes.launching import final_weights, launch

from mdpo_core import CheckpointError, DataError, Recipe, load_recipe, load_trained, run
from mdpo_core.data.reading import read_data
from mdpo_core.storage.stored_checks import StoredChecks

pytestmark = pytest.mark.usefixtures("own_registry")

SOURCE = '''
from mdpo_core import ImageCorruption, PairLoss, register


@register("mine")
class Mine(PairLoss):
    """Its margin."""

    def __call__(self, scores):
        return -scores.margin(self.prefer, self.over)


@register("grey")
class Grey(ImageCorruption):
    """All grey."""

    def __call__(self, image, rng):
        return image.convert("L").convert("RGB")
'''
CHANGES = {
    "data.num_pairs": 8,
    "validation": None,
    "corruptions": {"grey": {"corruption": "grey"}},
    "objective": [{"loss": "mine", "over": "chosen@grey"}],
    "train.batch_size": 4,
    "train.micro_batch_size": 2,
    "evaluators": [],
    "trackers": [],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    return file


def changed(file: Path) -> None:
    file.write_text(f"{file.read_text()}\n# Something else.\n")


def loaded(file: Path, folder: Path, epochs: int = 1, **more: object) -> Recipe:
    changes = {**CHANGES, "train.epochs": epochs, "output.dir": str(folder), **more}
    return load_recipe("quickstart", changes, plugins=[file])


def manifest_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.long
def test_a_changed_file_is_refused_on_resume_unless_that_is_accepted(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(loaded(file, folder))
    [(name, before)] = manifest_of(folder)["plugin_files"].items()  # type: ignore[attr-defined]
    assert name == "mine.py"
    changed(file)
    with pytest.raises(CheckpointError, match=r"the code of 'mine\.py' has changed since the run"):
        run(loaded(file, folder), resume=True)  # it is finished, but was trained by other code
    longer = loaded(file, folder, epochs=2)
    kept = (folder / "manifest.json").read_bytes()
    with pytest.raises(CheckpointError, match=f"the code of 'mine.py' has changed since the run in {folder} began"):
        run(longer, resume=True)
    assert (folder / "manifest.json").read_bytes() == kept
    run(longer, resume=True, accept_changed_code=True)
    after = manifest_of(folder)
    assert after["plugin_files"] != {"mine.py": before}
    assert after["earlier_code"] == [{"until_step": 2, "plugin_files": {"mine.py": before}}]
    run(loaded(file, folder, epochs=3), resume=True)


@pytest.mark.long
def test_a_file_may_move_and_the_trained_model_does_not_need_it(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(loaded(file, folder))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(file, tmp_path / "elsewhere"))
    shutil.rmtree(folder / "final")
    load_trained(folder).answer("What digits?", max_new_tokens=1)  # of the checkpoint: only the loss needs the file
    run(loaded(moved, folder), resume=True)
    assert (folder / "final").is_dir()


def class_of(folder: Path, source: str) -> type:
    """The class of a script's module, as it is now."""
    (folder / "my_script.py").write_text(source)
    sys.modules.pop("my_script", None)
    importlib.invalidate_caches()
    found: type = importlib.import_module("my_script").Half
    return found


SCRIPT = '''
from mdpo_core import PairLoss


class Half(PairLoss):
    """A loss that no plugin offers."""

    def __call__(self, scores):
        return (0.5 - scores.margin(self.prefer, self.over)).relu()
'''


def test_a_changed_class_of_a_script_is_refused_as_a_changed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def recipe(source: str, epochs: int) -> Recipe:
        changes = {**CHANGES, "corruptions": {}, "objective": [class_of(tmp_path, source)()]}
        return load_recipe("quickstart", {**changes, "train.epochs": epochs, "output.dir": str(tmp_path / "run")})

    run(recipe(SCRIPT, 1))
    with pytest.raises(CheckpointError, match="the code of 'loss half' has changed"):
        run(recipe(SCRIPT.replace("0.5", "0.7"), 2), resume=True)
    run(recipe(SCRIPT, 2), resume=True)


@pytest.mark.long
def test_a_cached_reference_of_a_changed_corruption_is_refused(file: Path, tmp_path: Path) -> None:
    shared = {"reference": "cached", "output.reference": str(tmp_path / "reference")}
    needs = {"objective": [{"loss": "dpo", "over": "chosen@grey"}]}
    run(loaded(file, tmp_path / "one", **shared, **needs))
    changed(file)
    with pytest.raises(CheckpointError, match=r"code\.corruption grey: '\w+' there, '\w+' here"):
        run(loaded(file, tmp_path / "two", **shared, **needs))


ROWS = '''
from mdpo_core import Example, LazyRows, Reader, register


class Rows(LazyRows):
    def __len__(self):
        return 4

    def row(self, number):
        return Example(f"{number}", "what is there ?", {"chosen": "ANSWER", "rejected": "b"})


@register("mine")
class Mine(Reader):
    """Four rows."""

    @property
    def notes_files(self):
        return True

    def open(self):
        return Rows()
'''


def test_a_check_by_a_changed_reader_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "rows.py"
    changes = {**CHANGES, "data": {"reader": "mine"}, "corruptions": {}, "objective": [{"loss": "dpo"}]}

    def checked(answer: str) -> int:
        file.write_text(ROWS.replace("ANSWER", answer))
        recipe = load_recipe("quickstart", changes, plugins=[file])
        return len(read_data(recipe, store=StoredChecks(recipe))[0].rows)

    assert checked("a") == checked("a") == 4
    with pytest.raises(DataError, match="chosen"):
        checked("")


@pytest.mark.long
def test_processes_and_workers_train_with_the_file_as_one_process_does(file: Path, tmp_path: Path) -> None:
    run(loaded(file, tmp_path / "one"))
    changes = [
        *("data.num_pairs=8", "validation=null", "corruptions={grey: {corruption: grey}}", "evaluators=[]"),
        *("objective=[{loss: mine, over: chosen@grey}]", "train.batch_size=4", "train.micro_batch_size=2"),
        *("trackers=[]", "train.workers=1"),
    ]
    more = ("--plugin", str(file), "--processes", "2")
    done = launch(changes, tmp_path / "two", *more, recipe=RECIPES / "quickstart.yaml")
    assert done.returncode == 0, done.stderr
    assert manifest_of(tmp_path / "two")["plugin_files"] == manifest_of(tmp_path / "one")["plugin_files"]
    mine, theirs = final_weights(tmp_path / "one"), final_weights(tmp_path / "two")
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)
