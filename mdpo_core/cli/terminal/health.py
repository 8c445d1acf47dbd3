"""Whether a finished run looks healthy, in sentences: what its numbers say, and what answers it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

Records = Sequence[Mapping[str, float]]

_CHOSEN = "rewards/chosen"
_PICTURE = "picture/accuracy"
_LOG_2 = math.log(2)
# A pair term whose margin never left 0 has this loss; a run that learned anything is further away.
_NEAR = 0.01
_LEAST_USE = 0.6
_ADD_ANCHOR = "An anchor answers that: {anchor: reward, on: chosen}"
_RAISE_ANCHOR = "Raise the weight of the anchor, or lower train.learning_rate"
_ADD_CONDITION = "A term over an image condition answers that: {loss: dpo, over: chosen@crop}"
_TRAIN_MORE = "Train for more epochs, or raise the weight of the term over the image condition"
_TOLD_APART = 0.75  # share of the pairs whose preferred answer has the higher reward


def findings(records: Records, anchored: bool = False, compares_pictures: bool = False) -> list[str]:
    """What is wrong with a run by its lines of metrics.jsonl, a sentence each; empty if nothing is.

    ``anchored``: whether an anchor is among its terms already; ``compares_pictures``: whether a term over an image
    condition is.
    """
    logged = [record for record in records if "loss" in record]
    evaluated = [record for record in records if any(name.startswith("eval/") for name in record)]
    return [*_of_training(_means_of_last_tenth(logged), anchored), *_of_pictures(evaluated, compares_pictures)]


def _of_training(last: Mapping[str, float], anchored: bool) -> Iterator[str]:
    chosen = last.get(_CHOSEN)
    if chosen is not None and chosen < 0:
        yield (
            f"the reward of the chosen answers ended below 0 ({chosen:+.3f}): the model now finds them less likely "
            f"than before training. {_RAISE_ANCHOR if anchored else _ADD_ANCHOR}"
        )
    stuck = [label for label in _compared(last) if _learned_nothing(label, last)]
    if stuck:
        terms = f"the term {stuck[0]}" if len(stuck) == 1 else f"the terms {' and '.join(stuck)}"
        yield (
            f"the loss of {terms} stayed at log 2 (0.693): there the model did not learn what to prefer. Look whether "
            "what is compared differs, and try a larger train.learning_rate, or more steps"
        )


def _learned_nothing(label: str, last: Mapping[str, float]) -> bool:
    """Whether the loss of a term is at log 2, and not only because a small beta makes all margins small."""
    is_near = abs(last.get(f"loss/{label}", 0.0) - _LOG_2) < _NEAR
    return is_near and last.get(f"rewards/accuracy/{label}", 0.0) < _TOLD_APART


def _compared(last: Mapping[str, float]) -> list[str]:
    """The labels of the terms that compare two answers under a reference: they log a margin."""
    return [name.removeprefix("rewards/margin/") for name in last if name.startswith("rewards/margin/")]


def _of_pictures(evaluated: Records, compares_pictures: bool) -> Iterator[str]:
    if not evaluated:
        return
    for name, share in evaluated[-1].items():
        if name.endswith(f"/{_PICTURE}") and share < _LEAST_USE:
            yield (
                f"only {share:.0%} of the held-out answers are likelier with their picture than without: the model "
                f"hardly looks at it. {_TRAIN_MORE if compares_pictures else _ADD_CONDITION}"
            )


def _means_of_last_tenth(logged: Records) -> dict[str, float]:
    """The mean of each metric over the last tenth of the lines."""
    part = logged[-math.ceil(len(logged) / 10) :] if logged else []
    names = dict.fromkeys(name for record in part for name in record)
    values = {name: [record[name] for record in part if name in record] for name in names}
    return {name: sum(each) / len(each) for name, each in values.items()}
