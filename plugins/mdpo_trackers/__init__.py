"""Logs in addition to metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import Component, PluginError, Tracker, hookimpl

if TYPE_CHECKING:
    from mdpo_trackers.curves import CurvesLog
    from mdpo_trackers.tensorboard import TensorBoardLog


class Curves(Tracker):
    """Draws ``curves.png`` into the run directory when the run ends or stops."""

    def start(self, folder: Path) -> CurvesLog:
        from mdpo_trackers.curves import CurvesLog

        return CurvesLog(folder)


class TensorBoard(Tracker):
    """Writes TensorBoard's event files into ``tensorboard/`` in the run directory."""

    def start(self, folder: Path) -> TensorBoardLog:
        try:
            from mdpo_trackers.tensorboard import TensorBoardLog
        except ModuleNotFoundError as error:
            raise PluginError(
                f"the tracker 'tensorboard' needs {error.name}: pip install 'mdpo[tensorboard]'"
            ) from error
        return TensorBoardLog(folder)


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {"curves": Curves, "tensorboard": TensorBoard}
