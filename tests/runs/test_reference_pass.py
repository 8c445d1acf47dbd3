"""Runs with a cached reference: the same model as without, whatever stops them, and nothing computed twice."""

from __future__ import annotations

import gc
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from support.effort import nightly_but
from support.paths import RECIPES
from support.processes.launching import contents, records
from support.runs import train
from transformers import LlavaForConditionalGeneration

from mdpo_core import View, hookimpl, load_recipe, run
from mdpo_core.cli import main
from mdpo_core.processes.stop_request import RunStopped
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.scoring.reference_store import CACHING, Shard
from mdpo_core.training import reference_pass
from mdpo_core.types.view import CHOSEN, REJECTED

if TYPE_CHECKING:
    from torch import Tensor

RECIPE = RECIPES / "llava_mdpo.yaml"
CROP = View("chosen", "crop")
# As of `cached_run`.
SHARD_ROWS = 4


class Listener:
    """Hears how many rows the pass found and finished, and counts the models in memory while a run trains."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.num_models = 0
        self.stop_at_step = 0
        self.stop_at_row: int | None = None

    @property
    def rows(self) -> tuple[int, int, int]:
        """Those that were there, those that are there now, and all."""
        return self.told[0][0], *self.told[-1]

    @hookimpl
    def mdpo_progress(self, stage: str, done: int, total: int) -> None:
        if stage == CACHING:
            self.told.append((done, total))
            if done == self.stop_at_row:
                os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl
    def mdpo_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self.num_models = sum(type(each) is LlavaForConditionalGeneration for each in gc.get_objects())
        if step == self.stop_at_step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def listener() -> Iterator[Listener]:
    heard = Listener()
    current_registry().plugins.register(heard)
    yield heard
    current_registry().plugins.unregister(heard)


Command = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`mdpo run` with some changes, with the plugins of this process: its exit code and what it says of a failure."""

    def called(changes: list[str]) -> tuple[int, str]:
        code = main(["run", str(RECIPE), *(word for change in changes for word in ("--set", change))])
        return code, capsys.readouterr().err

    monkeypatch.setattr(Registry, "discover", lambda without: current_registry())
    return called


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_pass, "SHARD_ROWS", SHARD_ROWS)
        yield


def without_lora(changes: list[str]) -> list[str]:
    return [*(change for change in changes if not change.startswith("model.lora")), "model.lora=null"]


@pytest.fixture(scope="module")
def tuned(cached_changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that trains the weights themselves; not to be changed."""
    return train(without_lora(cached_changes), tmp_path_factory.mktemp("tuned") / "run")


@pytest.fixture(scope="module")
def anew(cached_changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose crops are drawn anew in each epoch; not to be changed."""
    return train([*cached_changes, "corruptions.crop.draw=epoch"], tmp_path_factory.mktemp("anew") / "run")


def final_weights(run_dir: Path) -> dict[str, Tensor]:
    found = {name: value for file in run_dir.glob("final/*.safetensors") for name, value in load_file(file).items()}
    assert found
    return found


def shards(folder: Path, *views: View) -> list[Shard]:
    return [Shard.from_bytes(file.read_bytes(), views) for file in sorted(folder.iterdir())]


def require_alike(one: Path, other: Path) -> None:
    """The same losses and the same model, but for what other shapes of batches round otherwise."""
    losses, expected = ([record["loss"] for record in records(each)] for each in (one, other))
    assert len(losses) == 6
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[0] == pytest.approx(3 * math.log(2), abs=1e-5)
    weights, others = final_weights(one), final_weights(other)
    assert weights.keys() == others.keys()
    assert all(torch.allclose(weights[name], others[name], rtol=0, atol=1e-5) for name in weights)


def test_lora_trains_as_with_the_adapter_switched_off(
    cached_run: Path, cached_changes: list[str], tmp_path: Path
) -> None:
    switched = train([*cached_changes, "reference=adapter_off"], tmp_path / "run")
    assert not (switched / "reference").exists()
    require_alike(cached_run, switched)


@pytest.mark.long
def test_cached_full_tuning_matches_frozen_copy_with_one_model(
    tuned: Path, cached_changes: list[str], tmp_path: Path, listener: Listener
) -> None:
    """With a cached reference, full fine-tuning goes as with a frozen copy but holds one model."""
    gc.collect()
    before = sum(type(each) is LlavaForConditionalGeneration for each in gc.get_objects())
    copied = train([*without_lora(cached_changes), "reference=frozen_copy"], tmp_path / "copied")
    assert listener.num_models - before == 2
    require_alike(tuned, copied)
    gc.collect()
    train([*without_lora(cached_changes), f"output.reference={tuned / 'reference'}"], tmp_path / "cached")
    assert listener.num_models - before == 1


@pytest.mark.long
def test_bfloat16_is_cached_as_it_is_computed_in_training(cached_changes: list[str], tmp_path: Path) -> None:
    for precision in ("bf16", "bf16_autocast"):
        folder = train([*cached_changes, f"backend.precision={precision}", "train.epochs=1"], tmp_path / precision)
        assert records(folder)[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-2)
    exact, rounded = (shards(tmp_path / name / "reference" / "once", CROP) for name in ("bf16", "bf16_autocast"))
    assert not torch.equal(exact[0].views[CROP].values, rounded[0].views[CROP].values)


def test_redrawn_corruption_has_a_set_for_each_epoch(anew: Path, cached_run: Path) -> None:
    folder = anew / "reference"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"once", "epoch-000", "epoch-001"}
    first, second = (shards(folder / name, CROP) for name in ("epoch-000", "epoch-001"))
    for one, other in zip(first, second, strict=True):
        assert list(one.views) == [CROP]
        assert one.ids == other.ids
        assert one.views[CROP].lengths.tolist() == other.views[CROP].lengths.tolist()
        assert not (one.views[CROP].digests == other.views[CROP].digests).all(dim=1).any()
        assert not torch.allclose(one.views[CROP].values, other.views[CROP].values)
    clean, drawn = (shards(run_dir / "reference" / "once", CHOSEN, REJECTED) for run_dir in (anew, cached_run))
    for one, other in zip(clean, drawn, strict=True):
        assert torch.allclose(one.views[CHOSEN].values, other.views[CHOSEN].values, atol=1e-5)
    with pytest.raises(KeyError):
        shards(folder / "once", CROP)


# Ten rows of what is drawn once, and ten in each of two epochs. The sixteenth one would end a shard, which is lost.
STOP_AT = 16
KILLED = f"""
import os, signal, sys
from mdpo_core import hookimpl, load_recipe, run
from mdpo_core.registry.discovery import current_registry
from mdpo_core.training import reference_pass

class Kill:
    @hookimpl
    def mdpo_progress(self, stage, done, total):
        if (stage, done, total) == ({CACHING!r}, {STOP_AT}, 30):
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    reference_pass.SHARD_ROWS = {SHARD_ROWS}
    current_registry().plugins.register(Kill())
    run(load_recipe(sys.argv[1], sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "workers", nightly_but([1], [0, 1], "as with a worker, which computes ahead, too", pytest.mark.long)
)
def test_a_pass_that_was_killed_goes_on_where_it_was(
    workers: int, cached_changes: list[str], tmp_path: Path, anew: Path, listener: Listener
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    changes = [*cached_changes, "corruptions.crop.draw=epoch", f"output.dir={tmp_path / 'run'}"]
    words = [sys.executable, str(tmp_path / "killed.py"), str(RECIPE), *changes, f"train.workers={workers}"]
    assert subprocess.run(words, capture_output=True).returncode == -signal.SIGKILL
    kept = [name for name in contents(tmp_path / "run" / "reference") if "/rows-" in name]
    assert len(kept) == 4
    resume_pass(changes, anew, listener)


def test_sigterm_in_pass_keeps_finished_and_says_how_to_resume(
    cached_changes: list[str], tmp_path: Path, anew: Path, listener: Listener, command: Command
) -> None:
    changes = [*cached_changes, "corruptions.crop.draw=epoch", f"output.dir={tmp_path / 'run'}"]
    listener.stop_at_row = STOP_AT
    code, said = command(changes)
    assert code == 128 + signal.SIGTERM
    stopped, how = said.splitlines()
    assert stopped == "stopped while caching the reference, 14 of 30 rows are kept"
    assert how.startswith("resume with: mdpo-run ")
    assert how.endswith(" --resume")
    resume_pass(changes, anew, listener)


def resume_pass(changes: list[str], unstopped: Path, listener: Listener) -> None:
    """What was kept is not computed again, and the run ends as one that nothing stopped."""
    listener.told.clear()
    listener.stop_at_row = None
    folder = run(load_recipe(RECIPE, changes), resume=True).run_dir
    assert listener.rows == (14, 30, 30)
    assert contents(folder / "final") == contents(unstopped / "final")
    assert records(folder)[-1]["loss"] == records(unstopped)[-1]["loss"]


@pytest.mark.parametrize("lora", [pytest.param(True, marks=pytest.mark.long), False])
def test_training_that_was_stopped_resumes_to_the_bit(
    lora: bool, cached_run: Path, tuned: Path, cached_changes: list[str], tmp_path: Path, listener: Listener
) -> None:
    changes = cached_changes if lora else without_lora(cached_changes)
    listener.stop_at_step = 3
    with pytest.raises(RunStopped, match="stopped after step 3 of 6"):
        train(changes, tmp_path / "run")
    assert listener.rows == (0, 10, 10)
    listener.told.clear()
    listener.stop_at_step = 0
    train(changes, tmp_path / "run", resume=True)
    assert listener.rows == (10, 10, 10)
    assert contents(tmp_path / "run" / "final") == contents((cached_run if lora else tuned) / "final")


def test_a_run_that_differs_in_training_alone_computes_nothing(
    cache: Path, cached_changes: list[str], llava: Path, tmp_path: Path, listener: Listener
) -> None:
    shutil.copytree(llava, tmp_path / "llava")
    before = contents(cache)
    other = ["train.learning_rate=1.0e-4", "train.batch_size=10", "train.micro_batch_size=5", "objective.0.beta=0.5"]
    other += ["model.lora.rank=2", f"model.path={tmp_path / 'llava'}", "scoring.share_prefix=false"]
    folder = train([*cached_changes, *other, f"output.reference={cache}"], tmp_path / "other")
    assert listener.rows == (10, 10, 10)
    assert contents(cache) == before
    assert not (folder / "reference").exists()
    assert records(folder)[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-4)


@pytest.mark.long
def test_another_epoch_of_anew_drawn_crops_adds_its_set_alone(
    anew: Path, cached_changes: list[str], tmp_path: Path, listener: Listener
) -> None:
    cache = Path(shutil.copytree(anew / "reference", tmp_path / "cache"))
    longer = [*cached_changes, "corruptions.crop.draw=epoch", "train.epochs=3", f"output.reference={cache}"]
    train(longer, tmp_path / "longer")
    assert listener.rows == (30, 40, 40)


def test_damaged_shard_exits_1_and_is_recomputed_once_removed(
    cached_run: Path, cache: Path, cached_changes: list[str], tmp_path: Path, listener: Listener, command: Command
) -> None:
    file = sorted((cache / "once").iterdir())[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    before = contents(cache)
    changes = [*cached_changes, f"output.reference={cache}", f"output.dir={tmp_path / 'run'}"]
    refused = f"{file} differs from what was saved; remove this file to compute it again\n"
    assert command(changes) == (1, refused)
    assert contents(cache) == before
    file.unlink()
    run(load_recipe(RECIPE, changes), resume=True)
    assert listener.rows == (6, 10, 10)
    assert contents(tmp_path / "run" / "final") == contents(cached_run / "final")
