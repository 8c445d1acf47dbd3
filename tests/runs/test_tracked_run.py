"""A whole run with the trackers of services: all that is in metrics.jsonl arrives there, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.processes.launching import launch, records
from support.stored_wandb import records_of

from mdpo_core import load_recipe
from mdpo_core.recipe.recipe import Recipe

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]
TRACKED = ["trackers=[{tracker: wandb}, {tracker: mlflow}]", "evaluators=[{evaluator: samples, rows: 2}]"]


def arrived_at_wandb(folder: Path) -> tuple[set[str], dict[str, dict[int, float]], dict[str, object]]:
    """The runs, every number by name and step, and the configuration."""
    runs: set[str] = set()
    numbers: dict[str, dict[int, float]] = {}
    config: dict[str, object] = {}
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for each in records_of(file):
            if each.HasField("run"):
                runs.add(each.run.run_id)
                config |= {item.key: json.loads(item.value_json) for item in each.run.config.update}
            items = {item.nested_key[0]: json.loads(item.value_json) for item in each.history.item}
            for name, value in items.items():
                found = numbers.setdefault(name, {})
                assert items["_step"] not in found, (name, items["_step"])
                found[items["_step"]] = value
    return runs, numbers, config


def arrived_at_mlflow(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mdpo").experiment_id])
    return {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


@pytest.mark.nightly(reason="a run of minutes; the tests of each tracker log and resume by themselves")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_and_its_resume_arrive_once(processes: str, changes: list[str], tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra mdpo[wandb] is not installed")
    pytest.importorskip("mlflow", reason="the extra mdpo[mlflow] is not installed")
    folder = tmp_path / "run"
    tracked = [*changes, *TRACKED]
    for more in (["train.epochs=1"], ["train.epochs=2"]):
        done = launch([*tracked, *more], folder, "--resume", "--processes", processes)
        assert done.returncode == 0, done.stderr
        assert "the tracker" not in done.stderr
    lines = records(folder)
    names = {name for line in lines for name in line} - {"step", "epoch"}
    expected = {name: {line["step"]: line[name] for line in lines if name in line} for name in names}
    runs, numbers, config = arrived_at_wandb(folder)
    assert len(runs) == 1
    assert {name: numbers[name] for name in names} == {name: pytest.approx(values) for name, values in expected.items()}
    whole: Recipe = load_recipe(folder / "recipe.yaml")
    assert config["objective"] == json.loads(json.dumps(whole.to_dict()))["objective"]
    pictures = list(folder.glob("wandb/offline-run-*/files/media/images/*.png"))
    assert len(pictures) == 2 * len({line["step"] for line in lines if "eval/samples/words" in line})
    at_mlflow = arrived_at_mlflow(folder)
    assert {name: dict(at_mlflow[name.replace("@", "_")]) for name in names} == {
        name: pytest.approx(values) for name, values in expected.items()
    }
    assert all(len(values) == len(dict(values)) for values in at_mlflow.values())
