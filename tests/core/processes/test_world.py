"""What processes tell one another, in three real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import TESTS

from mdpo_core import MdpoError, Placement, RecipeError, World, current_world, device_of, set_compute_device
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.running_means import RunningMeans
from mdpo_core.processes.rendezvous import process_group
from mdpo_core.training.number_checks import ROUNDING
from mdpo_core.training.speed.throughput import Clock

VALUES = [[1.0, 2.0], [], [6.0, 7.0, 8.0]]


def refuse() -> None:
    raise MdpoError("only the main process ran this")


def tell(folder: Path) -> None:
    """What one of the processes finds; runs in each of them."""
    with process_group() as world:
        meter, running, clock = Meter(), RunningMeans(["mean"]), Clock()
        mine = torch.tensor(VALUES[world.rank])
        meter.add({"loss": mine} | ({"rare": mine} if world.rank == 2 else {}))
        running.add({"mean": mine})
        before = running.mean("mean")
        running.finish_step(world)
        running.add({"mean": mine * 2})
        running.finish_step(world)
        clock.count(pairs=10, tokens=100)
        try:
            world.computed_by_main(refuse)
        except MdpoError as error:
            refused = str(error)
        found = {
            "gathered": world.gather(world.rank),
            "highest": world.max_over_processes(world.rank * 3),
            "computed_by_main": world.computed_by_main(os.getpid),
            "refused": refused,
            "means": meter.means(world),
            "running": [before, running.mean("mean")],
            "pairs": clock.read(world)["pairs_per_second"] > 0,
        }
        (folder / f"{world.rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("told")
    program = f"import sys, pathlib; sys.path.insert(0, {str(TESTS)!r}); from core.processes import test_world\n"
    (folder / "tell.py").write_text(program + f"test_world.tell(pathlib.Path({str(folder)!r}))\n")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", str(folder / "tell.py")]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


def test_every_process_learns_the_same(found: list[dict[str, Any]]) -> None:
    assert found[0] == found[1] == found[2]
    assert found[0]["gathered"] == [0, 1, 2]
    assert found[0]["highest"] == 6
    assert found[0]["refused"] == "only the main process ran this"


def test_metrics_are_means_over_pairs_and_not_over_processes(found: list[dict[str, Any]]) -> None:
    assert found[0]["means"] == {"loss": pytest.approx(24 / 5), "rare": pytest.approx(7)}


def test_running_means_agree_and_begin_at_0(found: list[dict[str, Any]]) -> None:
    assert found[0]["running"] == [0, pytest.approx((24 + 48) / 10)]


@given(st.lists(st.lists(st.lists(st.floats(-9, 9), max_size=4), max_size=4), max_size=4))
def test_a_running_mean_is_over_all_pairs_of_all_finished_steps(steps: list[list[list[float]]]) -> None:
    running, seen = RunningMeans(["mean"]), list[float]()
    for step in steps:
        for part in step:
            running.add({"mean": torch.tensor(part)})
            # Not before the step is over: then micro-batches would have a part in it.
            assert running.mean("mean") == pytest.approx(sum(seen) / len(seen) if seen else 0, abs=1e-5)
        running.finish_step()
        seen += [value for part in step for value in part]
    resumed = RunningMeans(["mean", "another"])
    resumed.restore(json.loads(json.dumps(running.state())))
    assert resumed.mean("mean") == running.mean("mean") == pytest.approx(sum(seen) / max(len(seen), 1), abs=1e-5)
    assert resumed.mean("another") == 0


@given(st.lists(st.lists(st.floats(-9, 9), max_size=4), max_size=5))
def test_a_step_s_mean_is_over_the_last_step_that_had_pairs(steps: list[list[float]]) -> None:
    means, seen = RunningMeans(["run"], of_last_step=["step"]), list[float]()
    for step in steps:
        means.add({"step": torch.tensor(step), "run": torch.tensor(step)})
        assert means.mean("step") == pytest.approx(sum(seen) / len(seen) if seen else 0, abs=1e-5)
        means.finish_step()
        seen = step or seen
    resumed = RunningMeans([], of_last_step=["step"])
    resumed.restore(json.loads(json.dumps(means.state())))
    assert resumed.mean("step") == means.mean("step")


def test_one_process_without_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert current_world() == World(rank=0, size=1)
    with process_group() as world:
        assert world.gather("one") == ["one"]
        assert world.max_over_processes(3) == 3
        with pytest.raises(MdpoError, match="only the main process"):
            world.computed_by_main(refuse)


def test_offloaded_model_computes_where_the_backend_says() -> None:
    """A model whose weights rest elsewhere computes where the backend says."""
    module = torch.nn.Linear(2, 2)
    assert device_of(module) == torch.device("cpu")
    set_compute_device(module, torch.device("meta"))
    assert device_of(module) == torch.device("meta")
    assert list(module.state_dict()) == ["weight", "bias"]


def test_every_type_that_is_computed_in_has_a_rounding() -> None:
    assert ROUNDING.keys() == set(get_args(get_type_hints(Placement)["dtype"]))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' is not a number of processes"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK='-1' is not a number"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2, but WORLD_SIZE=2"),
        ({"WORLD_SIZE": "0"}, "RANK=0, but WORLD_SIZE=0"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE='' is not a number"),
        ({"WORLD_SIZE": "9" * 5000}, "is not a number of processes"),
    ],
)
def test_variables_that_no_launcher_sets_are_refused(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=words):
        current_world()
