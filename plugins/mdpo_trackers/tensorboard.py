"""TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from mdpo_core import Sample, TrackerLog
from mdpo_trackers.samples import picture_of, texts_of


class TensorBoardLog(TrackerLog):
    """A `TrackerLog` of event files; a resumed run adds one, and TensorBoard draws one curve."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._opened: SummaryWriter | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        evaluates = any(name.startswith("eval/") for name in metrics)
        writer = self._writer(step + 1 if evaluates else step)
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        writer = self._writer(step + 1)
        for sample in samples:
            texts = "\n\n".join(f"**{name}**: {text}" for name, text in texts_of(sample).items())
            writer.add_text(f"samples/{sample.row.id}", texts, step)
            picture = picture_of(sample)
            if picture is not None:
                writer.add_image(f"samples/{sample.row.id}", np.asarray(picture), step, dataformats="HWC")

    def _writer(self, purged: int) -> SummaryWriter:
        """The writer. The first record after a resume makes TensorBoard forget the steps from ``purged`` on."""
        if self._opened is None:
            self._opened = SummaryWriter(str(self._folder), purge_step=purged)
            recipe = self._folder.with_name("recipe.yaml")
            if recipe.is_file():
                self._opened.add_text("recipe", f"```yaml\n{recipe.read_text()}```", purged)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
