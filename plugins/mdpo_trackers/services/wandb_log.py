"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdpo_core import Sample
from mdpo_trackers.samples import picture_of, texts_of
from mdpo_trackers.services.journal import Journal
from mdpo_trackers.services.service import ServiceLog, recipe_of


class WandbLog(ServiceLog):
    """A run of Weights & Biases, without the code, its repository, the console, and measurements of the machine."""

    def __init__(self, wandb: Any, folder: Path, project: str, place: Mapping[str, Any]) -> None:
        journal = Journal(folder, "wandb", place["entity"], project)
        super().__init__(folder, journal)
        self._wandb = wandb
        quiet = wandb.Settings(
            console="off",
            silent=True,
            # Less than a run waits: what is not sent then stays in the run directory, for wandb sync.
            init_timeout=20,
            finish_timeout=20,
            finish_timeout_raises=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=project,
            id=journal.id,
            resume="allow",
            dir=str(folder),
            config=recipe_of(folder),
            allow_val_change=True,
            settings=quiet,
            **place,
        )
        journal.write()

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def send_samples(self, step: int, samples: Sequence[Sample]) -> None:
        columns = list(dict.fromkeys(name for sample in samples for name in texts_of(sample)))
        rows = [[texts_of(sample).get(name, "") for name in columns] for sample in samples]
        record: dict[str, Any] = {"samples": self._wandb.Table(columns=columns, data=rows)}
        # Not in the table: pictures of tables lie outside the run until they are sent.
        pictures = [(sample.answer, picture_of(sample)) for sample in samples]
        seen = [self._wandb.Image(picture, caption=answer) for answer, picture in pictures if picture is not None]
        self._run.log(record | ({"pictures": seen} if seen else {}), step=step)

    def send_summary(self, summary: Mapping[str, float]) -> None:
        self._run.summary.update(dict(summary))

    def end(self) -> None:
        self._run.finish()
