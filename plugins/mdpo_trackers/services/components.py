"""The trackers that keep many runs, as recipes name them. By default, none of them sends anything anywhere."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mdpo_core import PluginError, RecipeError, Tracker
from mdpo_trackers.services.service import library, reason_of

if TYPE_CHECKING:
    from mdpo_trackers.services.mlflow_log import MLflowLog
    from mdpo_trackers.services.swanlab_log import SwanLabLog
    from mdpo_trackers.services.trackio_log import TrackioLog
    from mdpo_trackers.services.wandb_log import WandbLog

_PROJECT = Field(default="mdpo", min_length=1, description="the project at the tracker that the run belongs to")
# What Trackio reads besides the options of a recipe, which alone say where metrics go.
_PLACES_OF_TRACKIO = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL")


class Wandb(Tracker):
    """Weights & Biases. ``mode: offline`` writes ``wandb/`` in the run directory, which ``wandb sync`` sends later."""

    project: str = _PROJECT
    mode: Literal["offline", "online"] = Field(default="offline", description="online: send everything as it comes")
    entity: str | None = Field(default=None, description="the user or team of the project")
    name: str | None = Field(default=None, description="what the run is called; default: the run directory")

    def check(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = library("wandb", "wandb")
        if self.mode == "online" and not _has_key(wandb):
            raise RecipeError(
                "the tracker 'wandb' has no API key: run wandb login, set WANDB_API_KEY, or write mode: offline"
            )

    def start(self, folder: Path) -> WandbLog:
        from mdpo_trackers.services.wandb_log import WandbLog

        place = {"mode": self.mode, "entity": self.entity, "name": self.name or folder.name}
        return WandbLog(library("wandb", "wandb"), folder, self.project, place)

    def shown_by(self, folder: Path) -> str:
        return (
            _sync("wandb", folder / "wandb", "offline-run-*")
            if self.mode == "offline"
            else _sent(self.entity, self.project)
        )


def _has_key(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except wandb.Error as error:
        raise RecipeError(f"the tracker 'wandb' cannot use its API key: {error}; run wandb login") from error


class MLflow(Tracker):
    """MLflow: a file beside the run directory, which all its neighbours share, or a server."""

    experiment: str = Field(default="mdpo", min_length=1, description="the experiment that the run belongs to")
    uri: str | None = Field(
        default=None,
        description="http://... of a server, or sqlite:///FILE; default: mlflow.db beside the run directory",
    )

    def check(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # By itself the library tries again for minutes; the run would end before it says that the server is gone.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        for name in ("mlflow", "mlflow.tracking"):
            library(name, "mlflow")
        if self._address(Path()).startswith("sqlite:"):
            library("mlflow.store.tracking.sqlalchemy_store", "mlflow")

    def start(self, folder: Path) -> MLflowLog:
        from mdpo_trackers.services.mlflow_log import MLflowLog

        mlflow, address = library("mlflow", "mlflow"), self._address(folder)
        try:
            return MLflowLog(mlflow, folder, self.experiment, address)
        except mlflow.exceptions.MlflowException as error:
            raise PluginError(f"the tracker 'mlflow' got no answer from {address}: {reason_of(error)}") from error

    def shown_by(self, folder: Path) -> str:
        if self.uri:
            return f"{self.uri}, experiment {self.experiment}"
        database = folder.parent / "mlflow.db"
        words = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{database}"]
        return shlex.join(words) if database.is_file() else ""

    def _address(self, folder: Path) -> str:
        return self.uri or f"sqlite:///{folder.absolute().parent / 'mlflow.db'}"


class Trackio(Tracker):
    """Trackio: its folder on this machine, which ``trackio show`` shows, or a server or a Space."""

    project: str = _PROJECT
    server: str | None = Field(default=None, description="http://... of a server of Trackio to send to")
    space: str | None = Field(default=None, description="OWNER/NAME of a Space on the hub to send to")

    def check(self) -> None:
        if self.server and self.space:
            raise RecipeError("the tracker 'trackio' sends to a server or to a space; leave one of them out")
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        library("trackio", "trackio")

    def start(self, folder: Path) -> TrackioLog:
        from mdpo_trackers.services.trackio_log import TrackioLog

        for name in _PLACES_OF_TRACKIO:
            os.environ.pop(name, None)
        place = {"server_url": self.server, "space_id": self.space}
        return TrackioLog(library("trackio", "trackio"), folder, self.project, place)

    def shown_by(self, folder: Path) -> str:
        if self.server or self.space:
            address = self.server or f"https://huggingface.co/spaces/{self.space}"
            return f"{address}, project {self.project}"
        written = library("trackio.utils", "trackio").TRACKIO_DIR
        return f"{shlex.join(['trackio', 'show', '--project', self.project])}   # in {written}"


class SwanLab(Tracker):
    """SwanLab. ``mode: offline`` writes ``swanlog/`` in the run directory, which ``swanlab sync`` sends later."""

    project: str = _PROJECT
    mode: Literal["offline", "local", "online"] = Field(
        default="offline", description="local: for the dashboard on this machine; online: send everything as it comes"
    )
    workspace: str | None = Field(default=None, description="the user or organization of the project")

    def check(self) -> None:
        library("swanlab", "swanlab")

    def start(self, folder: Path) -> SwanLabLog:
        from mdpo_trackers.services.swanlab_log import SwanLabLog

        place = {"mode": self.mode, "workspace": self.workspace}
        return SwanLabLog(library("swanlab", "swanlab"), folder, self.project, place)

    def shown_by(self, folder: Path) -> str:
        written = folder / "swanlog"
        if self.mode == "online":
            return _sent(self.workspace, self.project)
        if self.mode == "offline":
            return _sync("swanlab", written, "run-*")
        return shlex.join(["swanlab", "watch", str(written)]) if written.is_dir() else ""


def _sync(command: str, folder: Path, runs: str) -> str:
    """``wandb sync RUN/wandb/offline-run-...``; of a resumed run, which has several such folders, with ``*``."""
    found = sorted(folder.glob(runs))
    place = shlex.quote(str(found[0])) if len(found) == 1 else f"{shlex.quote(str(folder))}/{runs}"
    return f"{command} sync {place}" if found else ""


def _sent(owner: str | None, project: str) -> str:
    return f"sent to the project {owner}/{project}" if owner else f"sent to the project {project}"
