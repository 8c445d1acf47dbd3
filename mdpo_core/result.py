"""What a run leaves, for whoever called it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdpo_core.storage.metrics_file import MetricsFile


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
