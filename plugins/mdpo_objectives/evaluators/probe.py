"""The probe: does the policy prefer the chosen answers because of the pictures, or without them as well?"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from mdpo_core import (
    Corruption,
    DataError,
    Evaluator,
    Example,
    ExampleField,
    Policy,
    Problem,
    Rows,
    RunSize,
    atomic_write,
    current_world,
)
from mdpo_objectives.evaluators.preference import corruption_of

_RESPONSES = ("chosen", "rejected")
_WITHOUT = "without"
_ROWS = 24
_SHARE = 0.015  # of the forwards of a run, so that all that a probe needs stays below 2 % of the time
_PER_VIEW = 2  # a step's forward and backward, in forwards, where views share their prompt
_TRIES = 20  # rows that are looked at for each that is probed


class _Probed(NamedTuple):
    """Of each row: its id, the log-probs of its answers, the tokens of the chosen one, and if its picture changed."""

    ids: list[str]
    log_probs: list[tuple[float, float]]
    num_tokens: list[int]
    changed: list[bool]


class _Before(NamedTuple):
    """Of the probed rows: their numbers and ids, and the log-probs of their answers before training, by condition."""

    numbers: list[int]
    ids: list[str]
    log_probs: Mapping[str, Sequence[tuple[float, float]]]


_KEPT = TypeAdapter(_Before, config=ConfigDict(strict=True))


class Probe(Evaluator):
    """Measure whether the policy prefers the chosen answers because of their pictures.

    ``accuracy``: share of some rows whose chosen answer has the higher reward; ``accuracy/without``: the same without
    the picture; ``accuracy/CONDITION``: under an image condition of the recipe. ``gap``: the first minus the second.
    ``chosen``: the mean reward of the chosen answers, in nats; ``chosen/without``, ``chosen/CONDITION``: the same
    there. ``logps_per_token``: the log-prob of the chosen answers by their tokens, in nats a token, and
    ``logps_per_token/without`` and so on. A reward is the log-prob minus that before training, which the run directory
    keeps in ``probe.json``. A condition under which a row cannot be shown is left out.

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

    @field_validator("without")
    @classmethod
    def _without_is_a_corruption(cls, without: dict[str, Any]) -> dict[str, Any]:
        corruption_of(without)
        return without

    def needs(self) -> Mapping[ExampleField, tuple[str, ...]]:
        return {**corruption_of(self.without).needs(), "responses": _RESPONSES}

    def corruptions(self) -> tuple[Corruption]:
        return (corruption_of(self.without),)

    def require_kept(self, folder: Path) -> None:
        _read(folder / "probe.json")

    def interval(self, size: RunSize) -> int | None:
        if self.every is not None:
            return self.every
        probes = _budget(size) // (self.most_rows(size) * forwards_a_row(size))
        return math.ceil(size.num_steps / (probes - 1)) if probes > 2 else None

    def fits(self, size: RunSize) -> bool:
        return _budget(size) >= 2 * forwards_a_row(size)

    def most_rows(self, size: RunSize) -> int:
        """The rows of a probe: few enough for one at the start and one at the end."""
        return self.rows or max(1, min(_ROWS, _budget(size) // (2 * forwards_a_row(size))))

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        file, data = folder / "probe.json", policy.held_out or policy.trained_on
        if step == 0:
            numbers = self._drawn(policy, self.most_rows(policy.size))
            found = self._found(policy, Rows(data, numbers))
            before = _Before(numbers, found[""].ids, {name: each.log_probs for name, each in found.items()})
            current_world().computed_by_main(lambda: atomic_write(file, json.dumps(before._asdict()).encode()))
        else:
            before = current_world().computed_by_main(lambda: _of_these_rows(_read(file), len(data), file))
            found = self._found(policy, Rows(data, before.numbers))
        if before.ids != found[""].ids:
            raise _of_other_rows(file)
        return _metrics(found, before.log_probs)

    def _found(self, policy: Policy, rows: Sequence[Example]) -> dict[str, _Probed]:
        """What is found with the picture, by the name ``""``, without it, and under each condition."""
        found = {"": _probed(policy, rows, None), _WITHOUT: _probed(policy, rows, corruption_of(self.without))}
        for name, condition in policy.conditions.items():
            with suppress(DataError):  # in every process alike
                found[name] = _probed(policy, rows, condition)
        return found

    def _drawn(self, policy: Policy, number: int) -> list[int]:
        """The numbers of the first held-out rows, or of some of the training's, that have both answers."""
        data = policy.held_out or policy.trained_on
        order = range(len(data)) if policy.held_out else _in_random_order(len(data), random.Random(self.seed))
        found: list[int] = []
        for index in islice(order, _TRIES * number):
            with suppress(DataError):  # a row that is checked when it is met; the training will meet it
                if all(name in data[index].responses for name in _RESPONSES):
                    found.append(index)
            if len(found) == number:
                break
        return found


def forwards_a_row(size: RunSize) -> int:
    """The forwards of a row in a probe: two answers, with the picture, without it, and under each condition."""
    return len(_RESPONSES) * (2 + size.num_conditions)


def _budget(size: RunSize) -> int:
    return int(_SHARE * _PER_VIEW * size.num_steps * size.pairs_a_step * size.num_views)


def _in_random_order(total: int, rng: random.Random) -> Iterator[int]:
    """The numbers below ``total`` in a random order, each drawn when it is asked for."""
    seen: set[int] = set()
    while len(seen) < total:
        number = rng.randrange(total)
        if number not in seen:
            seen.add(number)
            yield number


def _probed(policy: Policy, rows: Sequence[Example], how: Corruption | None) -> _Probed:
    chosen, rejected = policy.log_probs_of(rows, _RESPONSES, how).values()
    pairs = [(first.log_prob, second.log_prob) for first, second in zip(chosen, rejected, strict=True)]
    changed = [how is None or row.corruptible for row in chosen]
    return _Probed([row.id for row in chosen], pairs, [row.num_tokens for row in chosen], changed)


def _read(file: Path) -> _Before:
    """The log-probs before training. Raises `DataError` if the file is missing or not as a probe writes it."""
    try:
        before = _KEPT.validate_json(file.read_bytes())
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _unreadable(file, ": ".join([*map(str, first["loc"][:1]), first["msg"]])) from error
    numbers = [len(before.ids), *map(len, before.log_probs.values())]
    if "" not in before.log_probs or any(number != len(before.numbers) for number in numbers):
        raise _unreadable(file, "it does not have the log-probs of all its rows")
    return before


def _unreadable(file: Path, reason: str) -> DataError:
    message = f"cannot be read ({reason}): it holds the log-probs before training, which the probe compares with"
    return DataError([Problem(str(file), "", f"{message}; restore it, or begin again in another run directory")])


def _of_these_rows(before: _Before, number: int, file: Path) -> _Before:
    """``before``. Raises `DataError` unless its rows are among this number."""
    if not all(0 <= each < number for each in before.numbers):
        raise _of_other_rows(file)
    return before


def _of_other_rows(file: Path) -> DataError:
    return DataError([Problem(str(file), "", "is of other rows; begin again in another run directory")])


def _metrics(found: Mapping[str, _Probed], before: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """The metrics of all conditions. One that changes no picture has none."""
    metrics: dict[str, float] = {}
    for name, each in found.items():
        if name in before and any(each.changed):
            own = _of_condition(each, before[name])
            metrics |= {f"{metric}/{name}" if name else metric: value for metric, value in own.items()}
    if f"accuracy/{_WITHOUT}" in metrics:
        metrics["gap"] = metrics["accuracy"] - metrics[f"accuracy/{_WITHOUT}"]
    return metrics


def _of_condition(now: _Probed, before: Sequence[tuple[float, float]]) -> dict[str, float]:
    rows = [index for index, changed in enumerate(now.changed) if changed]
    gains = [[after - first for after, first in zip(now.log_probs[row], before[row], strict=True)] for row in rows]
    return {
        "accuracy": _mean([chosen > rejected for chosen, rejected in gains]),
        "chosen": _mean([chosen for chosen, _ in gains]),
        "logps_per_token": _mean([now.log_probs[row][0] / max(1, now.num_tokens[row]) for row in rows]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
