"""SwanLab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdpo_core import Sample
from mdpo_trackers.samples import picture_of, texts_of
from mdpo_trackers.services.journal import Journal
from mdpo_trackers.services.service import ServiceLog, recipe_of


class SwanLabLog(ServiceLog):
    """A run of SwanLab. Only its server can go on with a run: elsewhere a resumed run is a second one there."""

    def __init__(self, swanlab: Any, folder: Path, project: str, place: Mapping[str, Any]) -> None:
        journal = Journal(folder, "swanlab", place["workspace"], project)
        super().__init__(folder, journal)
        self._swanlab = swanlab
        nothing = ("hardware", "runtime", "requirements", "conda", "git", "monitor")
        quiet = swanlab.Settings(
            interactive=False, terminal={"proxy_type": "none"}, probe=dict.fromkeys(nothing, False)
        )
        goes_on = {"id": journal.id, "resume": "allow"} if place["mode"] == "online" else {}
        self._run = swanlab.init(
            project=project,
            name=folder.name,
            color="#0072B2",  # by itself it draws one, with the generator that is everybody's
            log_dir=str(folder / "swanlog"),
            config=recipe_of(folder),
            settings=quiet,
            **place,
            **goes_on,
        )
        journal.write()

    def send(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def send_samples(self, step: int, samples: Sequence[Sample]) -> None:
        texts = ["\n".join(f"{name}: {text}" for name, text in texts_of(sample).items()) for sample in samples]
        record: dict[str, Any] = {"samples/texts": [self._swanlab.Text(text) for text in texts]}
        pictures = [(sample.answer, picture_of(sample)) for sample in samples]
        seen = [self._swanlab.Image(picture, caption=answer) for answer, picture in pictures if picture is not None]
        self._run.log(record | ({"samples/pictures": seen} if seen else {}), step=step)

    def send_summary(self, summary: Mapping[str, float]) -> None:
        if summary:
            lines = "\n".join(f"{name}: {value:g}" for name, value in summary.items())
            self._run.log({"summary": self._swanlab.Text(lines)})

    def end(self) -> None:
        self._run.finish()
