"""Trackers of other people's services, each through its own library, on this machine: what arrives there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
import pytest
from mdpo_trackers.services.journal import Journal
from support.stored_wandb import records_of

from mdpo_core import Example, PluginError, RecipeError, Sample, component
from mdpo_core.testing import check_tracker
from mdpo_core.training.trackers import tracking

# Libraries of other people warn of one another.
pytestmark = pytest.mark.filterwarnings("ignore")
RECIPE = "train: {epochs: 3}\nobjective:\n- {loss: dpo, beta: 0.1}\n- {anchor: reward}\n"
SAMPLE = Sample(
    Example("7", "<image> what is it?", {"chosen": "a dog"}, (PIL.Image.new("RGB", (80, 40), "red"),)), "a cow"
)


class Arrived(NamedTuple):
    """What a service has: its runs, all ``(step, value)`` of a metric, the recipe, answers and a picture."""

    num_runs: int
    values: Callable[[str], list[tuple[int, float]]]
    config: Mapping[str, Any]
    answers: list[str]
    picture: PIL.Image.Image
    summary: Mapping[str, float] | None


def picture(file: Path) -> PIL.Image.Image:
    with PIL.Image.open(file) as opened:
        return opened.convert("RGB")


def wandb_arrived(folder: Path) -> Arrived:
    stored = [record for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")) for record in records_of(file)]
    histories = [each.history.item for each in stored if each.history.item]
    history = [{item.key or item.nested_key[0]: item for item in items} for items in histories]
    runs = {each.run.run_id: each.run.config for each in stored if each.HasField("run")}
    summary = {item.key: json.loads(item.value_json) for each in stored for item in each.summary.update if item.key}
    tables = [
        json.loads(file.read_text()) for file in sorted(folder.glob("wandb/offline-run-*/files/media/table/*.json"))
    ]
    (config,) = runs.values()
    (media, *_) = folder.glob("wandb/offline-run-*/files/media/images/*.png")
    return Arrived(
        len(runs),
        lambda name: [
            (int(json.loads(each["_step"].value_json)), json.loads(each[name].value_json))
            for each in history
            if name in each
        ],
        {each.key: json.loads(each.value_json) for each in config.update},
        [row[table["columns"].index("answer")] for table in tables for row in table["data"]],
        picture(media),
        summary,
    )


def mlflow_arrived(folder: Path) -> Arrived:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mdpo").experiment_id])
    (run,) = runs
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (place / "recipe.yaml").read_text() == RECIPE
    assert run.info.status == "FINISHED"
    return Arrived(
        len(runs),
        lambda name: [
            (each.step, each.value) for each in client.get_metric_history(run.info.run_id, name.replace("@", "_"))
        ],
        {"train": {"epochs": int(run.data.params["train.epochs"])}},
        [row["answer"] for file in sorted(place.glob("samples/*.json")) for row in json.loads(file.read_text())],
        picture(place / "samples" / "step_000004_000.png"),
        json.loads((place / "summary.json").read_text()),
    )


def trackio_arrived(folder: Path) -> Arrived:
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import MEDIA_DIR

    runs = [run for run in SQLiteStorage.get_runs("mdpo") if run.startswith(f"{folder.name}-")]
    logs = SQLiteStorage.get_logs("mdpo", runs[0])
    rows = [row for log in logs if "samples" in log for row in log["samples"]["_value"]]
    summary = [log["summary"]["_value"] for log in logs if "summary" in log][-1]
    return Arrived(
        len(runs),
        lambda name: [(log["step"], log[name]) for log in logs if name in log],
        SQLiteStorage.get_run_config("mdpo", runs[0]),
        [row["answer"] for row in rows],
        picture(MEDIA_DIR / rows[-1]["picture"]["file_path"]),
        {row["metric"]: row["value"] for row in summary},
    )


SERVICES = {"wandb": wandb_arrived, "mlflow": mlflow_arrived, "trackio": trackio_arrived}


@pytest.fixture(params=["wandb", pytest.param("mlflow", marks=pytest.mark.long), "trackio", "swanlab"])
def service(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name not in sys.modules:
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(name, reason=f"the extra mdpo[{name}] is not installed", exc_type=ImportError)
    return name


def metrics(step: int) -> dict[str, float]:
    return {"epoch": step / 5, "loss": 2 / step, "rewards/chosen@crop": 0.1 * step}


def record(told: Any, folder: Path, step: int, values: Mapping[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")
    told.log(step, values)


def tell_killed_and_resumed(name: str, folder: Path) -> None:
    """A run that is killed after step 3, with a checkpoint after step 2; the last step is evaluated."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    tracker = component("tracker", name)
    tracker.check()  # type: ignore[attr-defined]
    with tracking([tracker], folder) as told:  # type: ignore[list-item]
        told.log_samples(0, [SAMPLE])
        record(told, folder, 0, {"epoch": 0.0, "eval/preference/loss": 0.7})
        for step in (1, 2, 3):
            record(told, folder, step, metrics(step))
    with tracking([tracker], folder) as told:  # type: ignore[list-item]
        for step in (3, 4):
            record(told, folder, step, metrics(step))
        told.log_samples(4, [SAMPLE])
        record(told, folder, 4, {"epoch": 0.8, "eval/preference/loss": 0.2})


def test_a_resumed_run_is_one_run_and_no_step_is_there_twice(
    service: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell_killed_and_resumed(service, tmp_path / "run")
    assert not [said for said in caplog.messages if "the tracker" in said]
    command = component("tracker", service).shown_by(tmp_path / "run")  # type: ignore[attr-defined]
    place = next(word for word in reversed(command.split()) if "/" in word)
    assert command.startswith(f"{service} ")
    assert list(Path("/").glob(place.removeprefix("sqlite:///").lstrip("/"))), command
    if service == "swanlab":
        assert_written_by_swanlab(tmp_path / "run")
        return
    arrived = SERVICES[service](tmp_path / "run")
    assert arrived.num_runs == 1
    assert arrived.values("loss") == [(step, pytest.approx(2 / step)) for step in (1, 2, 3, 4)]
    assert arrived.values("rewards/chosen@crop") == [(step, pytest.approx(0.1 * step)) for step in (1, 2, 3, 4)]
    assert arrived.values("epoch") == [(step, pytest.approx(step / 5)) for step in (1, 2, 3, 4)]
    assert arrived.values("eval/preference/loss") == [(0, 0.7), (4, 0.2)]
    assert arrived.config["train"]["epochs"] == 3
    assert arrived.answers == ["a cow", "a cow"]
    assert arrived.picture.size == (80, 40)
    assert arrived.picture.getpixel((40, 20)) == (255, 0, 0)
    assert arrived.summary is not None
    assert arrived.summary["before/eval/preference/loss"] == 0.7
    assert arrived.summary["after/eval/preference/loss"] == 0.2


def assert_written_by_swanlab(folder: Path) -> None:
    """Without its server, a resumed run is a second one; together they have each step once."""
    written = sorted((folder / "swanlog").glob("run-*/run-*.swanlab"))
    assert len(written) == 2
    texts = "".join(file.read_text() for file in (folder / "swanlog").glob("run-*/media/text/*.txt"))
    assert texts.count("answer: a cow") == 2
    configs = [file.read_text() for file in (folder / "swanlog").glob("run-*/files/config.yaml")]
    assert all("epochs" in config for config in configs)
    pictures = [picture(file).size for file in (folder / "swanlog").glob("run-*/media/image/*.png")]
    assert pictures == [(80, 40)] * 2


def test_they_keep_the_contract_of_trackers(service: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    check_tracker(component("tracker", service), tmp_path / "run")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio", "swanlab", "tensorboard"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mdpo_trackers.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(PluginError, match=rf"the tracker '{name}' needs .*: pip install 'mdpo\[{name}\]'"):
        component("tracker", name).check()  # type: ignore[attr-defined]


def test_wandb_online_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra mdpo[wandb] is not installed")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(RecipeError, match="has no API key: run wandb login, set WANDB_API_KEY, or"):
        component("tracker", "wandb", mode="online").check()  # type: ignore[attr-defined]


def test_trackio_sends_to_one_place() -> None:
    with pytest.raises(RecipeError, match="to a server or to a space; leave one of them out"):
        component("tracker", "trackio", server="http://localhost:1", space="me/mine").check()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "swanlab", "tensorboard", "curves"])
def test_nothing_is_shown_of_a_tracker_that_wrote_nothing(name: str, tmp_path: Path) -> None:
    assert component("tracker", name).shown_by(tmp_path / "run") == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tracker": "mlflow", "uri": "http://there:5000"}, "http://there:5000, experiment mdpo"),
        ({"tracker": "wandb", "mode": "online"}, "sent to the project mdpo"),
        ({"tracker": "swanlab", "mode": "online", "workspace": "us"}, "sent to the project us/mdpo"),
        ({"tracker": "trackio", "server": "http://there:7860"}, "http://there:7860, project mdpo"),
        ({"tracker": "trackio", "space": "me/mine"}, "https://huggingface.co/spaces/me/mine, project mdpo"),
    ],
)
def test_what_is_sent_away_is_shown_by_its_address(options: dict[str, str], expected: str, tmp_path: Path) -> None:
    name = options.pop("tracker")
    assert component("tracker", name, **options).shown_by(tmp_path) == expected  # type: ignore[attr-defined]


def test_another_project_is_another_run(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path, "wandb", None, project) for project in ("one", "two"))
    first.note("metrics", 3)
    second.note("metrics", 1)
    again = Journal(tmp_path, "wandb", None, "one")
    assert again.id == first.id != second.id
    assert (again.is_new, again.has("metrics", 3), again.has("metrics", 4)) == (False, True, False)
    assert not second.has("metrics", 3)
