"""A run in several processes: the same numbers, one voice, one end."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from support.effort import nightly_but
from support.paths import RECIPES
from support.processes.launching import (
    EVERY,
    begin,
    contents,
    final_weights,
    kill,
    launch,
    ranks_of,
    records,
    require_same_training,
    wait_for_step,
)

from mdpo_core import load_recipe, run

TWO = ("--processes", "2")
RECIPE = RECIPES / "llava_mdpo.yaml"


@pytest.fixture(scope="module")
def two(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing stopped: 10 pairs in batches of 4, so that one process lacks pairs."""
    folder = tmp_path_factory.mktemp("two") / "run"
    temporary = folder.with_name("temporary")
    temporary.mkdir()
    finished = launch(changes, folder, *TWO, TMPDIR=str(temporary))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count(": 6 steps;") == finished.stdout.count("\n6/6 ") == 1
    return folder


def test_two_processes_train_as_one_does(two: Path, small: list[str], tmp_path: Path) -> None:
    run(load_recipe(RECIPE, small), run_dir=tmp_path / "one")
    require_same_training(two, tmp_path / "one", 1e-5)


def test_the_folder_where_the_processes_meet_is_removed(two: Path) -> None:
    assert list(two.with_name("temporary").glob("mdpo-*")) == []


def test_each_process_writes_its_part_of_a_checkpoint(two: Path) -> None:
    [*_, newest] = sorted((two / "checkpoints").iterdir())
    files = [file.name for file in sorted(newest.glob("*.safetensors"))]
    assert files == ["state-00000-of-00002.safetensors", "state-00001-of-00002.safetensors"]
    sizes = [(newest / name).stat().st_size for name in files]
    assert min(sizes) > 0.3 * max(sizes)


@pytest.fixture(scope="module")
def stopped(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that was stopped after two steps or a little later; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with begin(changes, folder, *TWO) as process:
        wait_for_step(process, folder, 2)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 143
    assert err.count("checkpoint saved") == 1
    assert "--processes 2 --resume" in err
    return folder


@pytest.mark.long
def test_a_run_that_is_stopped_goes_on_to_the_bit(two: Path, stopped: Path, changes: list[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "stopped"))
    assert launch(changes, folder, *TWO, "--resume").returncode == 0
    assert contents(folder / "final") == contents(two / "final")
    assert [record["step"] for record in records(folder)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.long
def test_killed_process_ends_run_with_one_message_and_it_resumes(two: Path, changes: list[str], tmp_path: Path) -> None:
    """A killed process ends the run with one message, and the run goes on to the bit."""
    folder = tmp_path / "killed"
    with begin(changes, folder, *TWO) as process:
        wait_for_step(process, folder, 3)
        kill(ranks_of(process)[1])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    told = [line for line in err.splitlines() if "Warning" not in line and "warn" not in line]
    assert len(told) == 1, err
    assert told[0].startswith("process 1 was ended by SIGKILL")
    assert f"are kept in {folder}; " in told[0] or f"is kept in {folder}; " in told[0]
    assert f"--run-dir {folder} {' '.join(TWO)} --resume" in told[0]
    assert "--set train.batch_size=4" in told[0]
    assert launch(changes, folder, *TWO, "--resume").returncode == 0
    assert contents(folder / "final") == contents(two / "final")


@pytest.mark.long
def test_process_asked_to_stop_leaves_messages_to_the_launcher(changes: list[str], tmp_path: Path) -> None:
    """As when the launcher notices a killed process before the others do."""
    with begin(changes, tmp_path / "killed", *TWO) as process:
        wait_for_step(process, tmp_path / "killed", 2)
        asked, killed = ranks_of(process)
        os.kill(asked, signal.SIGTERM)
        kill(killed)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    told = [line for line in err.splitlines() if "Warning" not in line and "warn" not in line]
    assert len(told) == 2, err
    assert told[0].startswith("finishing this step, then saving; ")  # the main process, as it was asked
    assert told[1].startswith("process 1 was ended by SIGKILL")


@pytest.mark.long
def test_a_run_goes_on_in_one_process_with_a_warning(
    two: Path, stopped: Path, changes: list[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "fewer"))
    resumed = launch(changes, folder, "--resume")
    assert "processes: 2 -> 1" in resumed.stderr
    assert resumed.returncode == 0
    require_same_training(folder, two, 1e-5)


# Each mistake takes a launch: one before training and one in it are tried first, the others are of the same two kinds.
OF_THE_SAME_KIND = pytest.mark.nightly(reason="told before training, as the batch size is")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("train.batch_size=3", 2, "3 is not divisible by micro_batch_size times processes (2 x 2)"),
        pytest.param("train.learning_rate=1.0e30", 1, "is not finite", marks=pytest.mark.long),
        pytest.param(
            "data.path=nowhere.json", 2, "nowhere.json: the file or folder does not exist", marks=OF_THE_SAME_KIND
        ),
        pytest.param("backend.device=cuda:7", 2, "'cuda:7' is one device", marks=OF_THE_SAME_KIND),
    ],
)
def test_one_process_tells_what_is_wrong(
    change: str, code: int, message: str, changes: list[str], tmp_path: Path
) -> None:
    failed = launch([*changes, change], tmp_path / "run", *TWO)
    assert failed.returncode == code, failed.stderr
    assert failed.stderr.count(message) == 1, failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.long
def test_a_directory_that_cannot_be_written_is_told_of_once(changes: list[str]) -> None:
    # Not even root may make a folder there.
    failed = launch(changes, Path("/proc/run"), *TWO)
    assert failed.returncode == 1
    assert failed.stderr.count("/proc/run") == 1
    assert "Traceback" not in failed.stderr


def require_like_one_process(backend: str, processes: int, changes: list[str], folder: Path) -> None:
    """A run of the recipe in several processes leaves what one process does, in ``folder / "many"``."""
    same = [change for change in changes if not change.startswith("backend")]
    run(load_recipe(RECIPE, [*same, f"backend={EVERY['ddp']}"]), run_dir=folder / "one")
    finished = launch([*same, f"backend={EVERY[backend]}"], folder / "many", "--processes", str(processes))
    assert finished.returncode == 0, finished.stderr
    require_same_training(folder / "many", folder / "one", 1e-5)


# AdamW makes whole steps of gradients that are nearly 0, rounding and all; long ones would feed that back. With
# seed 0 one number has such a gradient, and is 1.7e-5 off; with seeds 1 to 4 all weights agree to 4e-6.
STEADY = ["train.micro_batch_size=1", "train.learning_rate=3.0e-4", "train.seed=1"]
# ZeRO's stages below 3 differ in what DeepSpeed shares out; tests/plugins/deepspeed trains with each of them.
STAGES = ["zero_0", "zero_1", "zero_2"]


@pytest.mark.parametrize(
    "backend",
    nightly_but(
        ["zero_3"],
        [name for name in EVERY if name not in STAGES],
        "the engines of ddp and fsdp are compared with one process in tests of their plugins",
        pytest.mark.long,
    ),
)
def test_every_backend_trains_as_one_process_does(backend: str, changes: list[str], tmp_path: Path) -> None:
    require_like_one_process(backend, 2, [*changes, *STEADY], tmp_path)


@pytest.mark.nightly(reason="stages below 3 and four processes take the same code of ours as stage 3 and two processes")
@pytest.mark.parametrize(
    ("backend", "processes"), [*((stage, 2) for stage in STAGES), ("ddp", 4), ("fsdp", 4), ("zero_3", 4)]
)
def test_every_stage_and_four_processes_train_as_one_process(
    backend: str, processes: int, changes: list[str], tmp_path: Path
) -> None:
    require_like_one_process(backend, processes, [*changes, *STEADY], tmp_path)


@pytest.mark.nightly(reason="test_held_out.py and test_probed_runs.py share evaluations of all kinds of rows")
@pytest.mark.parametrize("backend", ["ddp", "fsdp", "zero_3"])
def test_processes_share_an_evaluation_and_all_know_its_result(backend: str, tmp_path: Path) -> None:
    # Captions of different lengths in each process, which must not leave another one waiting.
    recipe = RECIPE.parent / "quickstart.yaml"
    small = ["data.num_pairs=64", "train.micro_batch_size=8", f"backend={EVERY[backend]}"]
    finished = launch(small, tmp_path / "two", *TWO, recipe=recipe)
    assert finished.returncode == 0, finished.stderr
    [_, *_, evaluated] = records(tmp_path / "two")
    run(load_recipe(recipe, [*small[:2], f"backend={EVERY['ddp']}"]), run_dir=tmp_path / "one")
    [_, *_, expected] = records(tmp_path / "one")
    assert evaluated == pytest.approx(expected, rel=1e-4)
    assert evaluated.keys() >= {"eval/digits/wrong_digits", "eval/digits/chosen_reward"}
    assert (tmp_path / "two" / "samples.png").is_file()


@pytest.mark.long
def test_the_recipe_for_eight_gpus_runs_on_a_small_model(changes: list[str], tmp_path: Path) -> None:
    recipe = RECIPE.parent / "llava_mdpo_zero3.yaml"
    same = [change for change in changes if not change.startswith(("backend", "model.lora"))]
    finished = launch(same, tmp_path / "run", *TWO, recipe=recipe)
    assert finished.returncode == 0, finished.stderr
    assert records(tmp_path / "run")[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-2)
    # In bfloat16, as a GPU would have it.
    assert {value.dtype for value in final_weights(tmp_path / "run").values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("zero_3", marks=pytest.mark.long),
        *nightly_but([], ["ddp", "fsdp", *STAGES], "as zero_3, which gathers more"),
    ],
)
def test_rows_without_images_give_gradients_of_one_process(
    backend: str, changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    """Rows without images give the gradients of one process, wherever they fall."""
    rows = json.loads(pairs.read_text())
    for row in rows[:8]:
        row["prompt"] = row["prompt"].replace("<image>\n", "")
        del row["img_path"]
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(rows))
    # The projector trains, too, and some processes see no picture in a step; some steps have none at all.
    more = [f"data.path={mixed}", "model.lora=null", "train.learning_rate=1.0e-4", "train.batch_size=2"]
    require_like_one_process(backend, 2, [*changes, *more, "train.micro_batch_size=1"], tmp_path)
    trained = final_weights(tmp_path / "many")
    assert all(torch.isfinite(value).all() for value in trained.values())


@pytest.mark.parametrize(
    "backend",
    nightly_but([], ["ddp", "fsdp", "zero_3"], "the rows differ, which no backend sees"),
)
def test_conversations_and_hidden_tokens_match_one_process(
    backend: str, changes: list[str], pairs: Path, tmp_path: Path
) -> None:
    """Conversations and hidden image tokens give the numbers of one process."""
    rows = json.loads(pairs.read_text())
    last = {"role": "user", "content": "What do you see?"}
    for number, row in enumerate(rows):
        first = {"role": "user", "content": "<image>\nIs it day or night?"}
        row["prompt"] = [first, {"role": "assistant", "content": "Day."}, last] if number % 3 else [first]
    talks = tmp_path / "talks.json"
    talks.write_text(json.dumps(rows))
    more = [f"data.path={talks}", "corruptions={crop: {corruption: token_drop, share: 0.5}}", "model.prompts=chat"]
    require_like_one_process(backend, 2, [*changes, *more, *STEADY], tmp_path)


def test_a_launcher_and_an_option_that_disagree_are_told_apart(changes: list[str], tmp_path: Path) -> None:
    failed = launch(changes, tmp_path / "run", "--processes", "3", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert failed.returncode == 2
    assert "--processes 3, but the launcher started 2" in failed.stderr
