"""The probe: does the policy prefer the chosen answers because of the pictures, or without them as well?"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, PrivateAttr, field_validator

from mdpo_core import (
    Corruption,
    DataError,
    Evaluator,
    Example,
    ExampleField,
    Policy,
    Problem,
    RunSize,
    current_world,
)
from mdpo_objectives.evaluators.preference import corruption_of

_RESPONSES = ("chosen", "rejected")
_WITHOUT = "without"
_ROWS = 24
_SHARE = 0.015  # of the forwards of a run, so that all that a probe needs stays below 2 % of the time
_PER_VIEW = 2  # a step's forward and backward, in forwards, where views share their prompt

LogProbs = Mapping[str, Sequence[Sequence[float]]]  # by condition, those of the chosen and rejected answer of a row


class _Probed(NamedTuple):
    """The log-probs of each row's two answers. ``changed``: the rows whose picture the condition changes."""

    log_probs: Sequence[Sequence[float]]
    changed: Sequence[int]


class Probe(Evaluator):
    """Measure whether the policy prefers the chosen answers because of their pictures.

    ``accuracy``: share of some rows whose chosen answer has the higher reward; ``accuracy/without``: the same without
    the picture; ``accuracy/CONDITION``: under an image condition of the recipe. ``gap``: the first minus the second.
    ``chosen``: the mean reward of the chosen answers, in nats, ``logps/chosen`` their mean log-prob. A reward is the
    log-prob minus that before training, which the run directory keeps in ``probe.json``.

    The rows are held-out ones, or else drawn from those that are trained on. By default there are so many, and probes
    are so rare, that they take at most 1.5 % of the forwards of the run, and so 2 % of its time: a step counts 2 for
    each view of a pair, a probe 1 for each answer of a row under each condition.
    """

    rows: int | None = Field(default=None, gt=0, description="rows of a probe; default: 24, or fewer in a short run")
    without: dict[str, Any] = Field(
        default={"corruption": "blank"},
        validate_default=True,
        description="the corruption that takes the picture away, with its options: {corruption: no_image}",
    )
    seed: int = Field(default=0, description="the seed that draws the rows, where none are held out")
    _before: LogProbs | None = PrivateAttr(None)

    @field_validator("without")
    @classmethod
    def _without_is_a_corruption(cls, without: dict[str, Any]) -> dict[str, Any]:
        corruption_of(without)
        return without

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {**corruption_of(self.without).needs(), "responses": _RESPONSES}

    def corruptions(self) -> tuple[Corruption]:
        return (corruption_of(self.without),)

    def interval(self, size: RunSize) -> int | None:
        if self.every is not None:
            return self.every
        probes = _budget(size) // (self.most_rows(size) * forwards_a_row(size))
        return math.ceil(size.num_steps / (probes - 1)) if probes > 2 else None

    def most_rows(self, size: RunSize) -> int:
        """The rows of a probe: few enough for one at the start and one at the end."""
        return self.rows or max(1, min(_ROWS, _budget(size) // (2 * forwards_a_row(size))))

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        rows = self._rows(policy)
        found = {name: self._probed(policy, rows, how) for name, how in self._conditions(policy).items()}
        now = {name: each.log_probs for name, each in found.items()}
        before = self._kept(folder, now, [row.id for row in rows], step)
        gains = {
            name: [_minus(after, first) for after, first in zip(now[name], before[name], strict=True)] for name in now
        }
        counted = {name: [gains[name][index] for index in each.changed] for name, each in found.items()}
        accuracies = {
            name: _mean([chosen > rejected for chosen, rejected in each]) for name, each in counted.items() if each
        }
        metrics = {f"accuracy/{name}" if name else "accuracy": value for name, value in accuracies.items()}
        if _WITHOUT in accuracies:
            metrics["gap"] = accuracies[""] - accuracies[_WITHOUT]
        return {
            **metrics,
            "chosen": _mean([chosen for chosen, _ in gains[""]]),
            "logps/chosen": _mean([chosen for chosen, _ in now[""]]),
        }

    def _conditions(self, policy: Policy) -> dict[str, Corruption | None]:
        return {"": None, _WITHOUT: corruption_of(self.without), **policy.conditions}

    def _probed(self, policy: Policy, rows: Sequence[Example], how: Corruption | None) -> _Probed:
        chosen, rejected = (policy.log_probs(rows, response, how) for response in _RESPONSES)
        changed = [index for index, row in enumerate(chosen) if how is None or row.corruptible]
        pairs = [(first.log_prob, second.log_prob) for first, second in zip(chosen, rejected, strict=True)]
        return _Probed(pairs, changed)

    def _rows(self, policy: Policy) -> Sequence[Example]:
        """The first held-out rows, or some of the training's; always the same ones."""
        number = self.most_rows(policy.size)
        if policy.held_out:
            return policy.held_out[:number]
        found: list[Example] = []
        order = random.Random(self.seed).sample(range(len(policy.trained_on)), len(policy.trained_on))
        for index in order:
            if len(found) == number:
                break
            try:
                found.append(policy.trained_on[index])
            except DataError:  # a row that is checked when it is met; the training will meet it
                continue
        return found

    def _kept(self, folder: Path, now: LogProbs, ids: Sequence[str], step: int) -> LogProbs:
        """The log-probs before training: those of step 0, which a resumed run reads."""
        file = folder / "probe.json"
        if step == 0:
            self._before = now
            if current_world().is_main:
                file.write_text(json.dumps({"rows": list(ids), "log_probs": now}))
        if self._before is None:
            [read, *_] = current_world().gather(_read(file, ids) if current_world().is_main else None)
            self._before = read
        assert self._before is not None
        return self._before


def forwards_a_row(size: RunSize) -> int:
    """The forwards of a row in a probe: two answers, with the picture, without it, and under each condition."""
    return len(_RESPONSES) * (2 + size.num_conditions)


def _budget(size: RunSize) -> int:
    return int(_SHARE * _PER_VIEW * size.num_steps * size.pairs_a_step * size.num_views)


def _read(file: Path, ids: Sequence[str]) -> LogProbs:
    try:
        kept = json.loads(file.read_text())
        if kept["rows"] != list(ids):
            raise DataError([Problem(file.name, "", "is of other rows; remove the run directory, and begin again")])
        log_probs: LogProbs = kept["log_probs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"cannot be read ({error}): it holds the log-probs before training; remove the probe from evaluators"
        raise DataError([Problem(file.name, "", message)]) from error
    return log_probs


def _minus(after: Sequence[float], before: Sequence[float]) -> tuple[float, float]:
    return after[0] - before[0], after[1] - before[1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
