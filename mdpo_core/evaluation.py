"""Evaluators at work: which are due, and what they see of the policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mdpo_core.components import Evaluator
from mdpo_core.encoding import BatchBuilder
from mdpo_core.example import Example
from mdpo_core.objective import Meter, Objective
from mdpo_core.protocols import Engine, VisionLanguageModel
from mdpo_core.registry import current_registry
from mdpo_core.scores import Scores


@dataclass(frozen=True)
class TrainedPolicy:
    """The policy under training, as evaluators see it. Dropout is off while they look."""

    model: VisionLanguageModel
    engine: Engine
    objective: Objective
    builder: BatchBuilder
    batch_size: int
    progress: Callable[[int, int], object]

    def generate(self, examples: Sequence[Example], max_new_tokens: int) -> list[str]:
        """Greedy responses to the examples' prompts."""
        texts: list[str] = []
        for start in range(0, len(examples), self.batch_size):
            prompts = [self.builder.encoder.encode_prompt(each) for each in examples[start : start + self.batch_size]]
            with torch.no_grad():
                tokens = self.model.generate(prompts, max_new_tokens)
            texts += [self.builder.encoder.decode(ids) for ids in tokens]
            self.progress(len(texts), len(examples))
        return texts

    def metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        """The objective and its metrics, means over ``examples``; other rows for a corruption come from them, too."""
        meter = Meter()
        for start in range(0, len(examples), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(examples)))
            batch = self.builder.build(examples, rows, epoch=0)
            with torch.no_grad():
                scored = self.engine.forward(batch)
                meter.add(self.objective(Scores.from_tokens(scored, batch.applies, batch.columns)).metrics)
            self.progress(rows.stop, len(examples))
        return meter.means()


@dataclass(frozen=True)
class Evaluation:
    """Runs the evaluators that are due after a step."""

    evaluators: Sequence[Evaluator]
    policy: TrainedPolicy
    folder: Path
    num_steps: int

    def __call__(self, step: int) -> dict[str, float]:
        """Metrics as ``eval/<evaluator>/<metric>``; empty if nothing is due."""
        due = [evaluator for evaluator in self.evaluators if self._is_due(evaluator, step)]
        metrics: dict[str, float] = {}
        self.policy.model.set_training(False)
        try:
            for evaluator in due:
                name = current_registry().name_of(type(evaluator))
                found = evaluator.evaluate(self.policy, self.folder, step)
                metrics |= {f"eval/{name}/{metric}": float(value) for metric, value in found.items()}
        finally:
            self.policy.model.set_training(True)
        return metrics

    def _is_due(self, evaluator: Evaluator, step: int) -> bool:
        return step in (0, self.num_steps) or (evaluator.every is not None and step % evaluator.every == 0)
