"""Trackio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdpo_core import Sample
from mdpo_trackers.samples import picture_of, texts_of
from mdpo_trackers.services.journal import Journal
from mdpo_trackers.services.service import ServiceLog, recipe_of


class TrackioLog(ServiceLog):
    """A run of Trackio: in its folder on this machine, or at a server."""

    def __init__(self, trackio: Any, folder: Path, project: str, place: Mapping[str, Any]) -> None:
        journal = Journal(folder, "trackio", *place.values(), project)
        super().__init__(folder, journal)
        self._trackio = trackio
        self._run = trackio.init(
            project=project,
            name=f"{folder.name}-{journal.id}",
            config=recipe_of(folder),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
            **place,
        )
        journal.write()

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def send_samples(self, step: int, samples: Sequence[Sample]) -> None:
        columns = list(dict.fromkeys(name for sample in samples for name in texts_of(sample)))
        rows = []
        for sample in samples:
            texts, picture = texts_of(sample), picture_of(sample)
            image = None if picture is None else self._trackio.Image(picture)
            rows.append([*(texts.get(name, "") for name in columns), image])
        self._run.log({"samples": self._trackio.Table(columns=[*columns, "picture"], data=rows)}, step=step)

    def send_summary(self, summary: Mapping[str, float]) -> None:
        if summary:
            rows = [[name, value] for name, value in summary.items()]
            self._run.log({"summary": self._trackio.Table(columns=["metric", "value"], data=rows)})

    def end(self) -> None:
        self._run.finish()
