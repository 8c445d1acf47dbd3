"""MLflow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdpo_core import Sample
from mdpo_trackers.samples import picture_of, texts_of
from mdpo_trackers.services.journal import Journal
from mdpo_trackers.services.service import ServiceLog, flat, recipe_of

_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
_LONGEST_VALUE = 500  # letters; the least that a server of MLflow takes
_BATCH = 100  # parameters in one call


class MLflowLog(ServiceLog):
    """A run of MLflow. The recipe is there as parameters and as a file, answers and pictures as artifacts."""

    def __init__(self, mlflow: Any, folder: Path, experiment: str, uri: str) -> None:
        journal = Journal(folder, "mlflow", uri, experiment)
        super().__init__(folder, journal)
        self._entities = mlflow.entities
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        if journal.is_new:
            number = self._experiment(experiment, uri)
            journal.rename(self._client.create_run(number, run_name=folder.name).info.run_id)
        else:
            self._client.update_run(journal.id, status="RUNNING")
        self._id = journal.id
        self._send_recipe(folder)

    def _experiment(self, name: str, uri: str) -> str:
        """The number of the experiment, which is made if it is new. Artifacts lie beside a file, or at the server."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        database = uri.removeprefix("sqlite:///")
        beside = None if database == uri else (Path(database).absolute().parent / "mlartifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=beside))

    def _send_recipe(self, folder: Path) -> None:
        """Parameters cannot change, so a resumed run keeps those that it began with; the file changes."""
        kept = self._client.get_run(self._id).data.params
        values = {_named(name): str(value)[:_LONGEST_VALUE] for name, value in flat(recipe_of(folder)).items()}
        new = [self._entities.Param(name, value) for name, value in values.items() if name not in kept]
        for start in range(0, len(new), _BATCH):
            self._client.log_batch(self._id, params=new[start : start + _BATCH])
        for name in ("recipe.yaml", "manifest.json"):
            if (folder / name).is_file():
                self._client.log_artifact(self._id, str(folder / name))

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        values = [self._entities.Metric(_named(name), value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=values)

    def send_samples(self, step: int, samples: Sequence[Sample]) -> None:
        self._client.log_dict(self._id, [texts_of(sample) for sample in samples], f"samples/step_{step:06d}.json")
        for number, sample in enumerate(samples):
            picture = picture_of(sample)
            if picture is not None:
                self._client.log_image(self._id, picture, artifact_file=f"samples/step_{step:06d}_{number:03d}.png")

    def send_summary(self, summary: Mapping[str, float]) -> None:
        self._client.log_dict(self._id, dict(summary), "summary.json")

    def end(self) -> None:
        self._client.set_terminated(self._id)


def _named(name: str) -> str:
    """MLflow takes no ``@``: ``rewards/chosen_crop``."""
    return _NOT_IN_NAMES.sub("_", name)
