"""Logs in addition to metrics.jsonl."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core import Component, Tracker, hookimpl
from mdpo_trackers.services.components import MLflow, SwanLab, Trackio, Wandb
from mdpo_trackers.services.service import library

if TYPE_CHECKING:
    from mdpo_trackers.curves import CurvesLog
    from mdpo_trackers.tensorboard import TensorBoardLog


class Curves(Tracker):
    """Draws ``curves.png`` into the run directory when the run ends or stops."""

    def start(self, folder: Path) -> CurvesLog:
        from mdpo_trackers.curves import CurvesLog

        return CurvesLog(folder)

    def figure(self, folder: Path) -> Any:
        from mdpo_trackers.curves import figure_of

        return figure_of(folder / "metrics.jsonl")


class TensorBoard(Tracker):
    """Writes TensorBoard's event files into ``tensorboard/`` in the run directory."""

    def check(self) -> None:
        library("mdpo_trackers.tensorboard", "tensorboard")

    def start(self, folder: Path) -> TensorBoardLog:
        from mdpo_trackers.tensorboard import TensorBoardLog

        return TensorBoardLog(folder)

    def shown_by(self, folder: Path) -> str:
        written = folder / "tensorboard"
        return shlex.join(["tensorboard", "--logdir", str(written)]) if written.is_dir() else ""


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    services: Mapping[str, type[Component]] = {"wandb": Wandb, "mlflow": MLflow, "trackio": Trackio, "swanlab": SwanLab}
    return {"curves": Curves, "tensorboard": TensorBoard, **services}
