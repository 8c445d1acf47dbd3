"""What a run leaves, for whoever called it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.errors import MdpoError
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.interfaces.tracker import Tracker
from mdpo_core.registry.discovery import make_component
from mdpo_core.storage.metrics_file import MetricsFile
from mdpo_core.use.trained import TrainedModel, load_trained


@dataclass(frozen=True)
class RunResult:
    """The results of a run: its directory, the exported model, and the evaluations by step."""

    run_dir: Path
    final: Path
    evaluations: dict[int, dict[str, float]]

    @property
    def metrics(self) -> Any:
        """All lines of metrics.jsonl: a pandas ``DataFrame``, or a list of mappings where pandas is not installed."""
        records = MetricsFile(self.run_dir / "metrics.jsonl").records()
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            return records
        return pandas.DataFrame(records)

    def plot(self) -> Any:
        """The curves of the run, those of ``curves.png``, as a matplotlib figure, which a notebook shows.

        Raises `MdpoError` if the run has logged no numbers.
        """
        curves = make_component("tracker", "curves")
        assert isinstance(curves, Tracker)
        with code_of(curves, "figure"):
            figure = curves.figure(self.run_dir)
        if figure is None:
            raise MdpoError(f"the run has no numbers to draw: none are in {self.run_dir / 'metrics.jsonl'}")
        return figure

    def model(self, *, step: int | None = None, device: str | None = None) -> TrainedModel:
        """The trained model, to ask it questions: ``result.model().answer("What is it?", "photo.jpg")``.

        ``step``, ``device`` and errors: as those of `load_trained`.
        """
        return load_trained(self.run_dir, step=step, device=device)
