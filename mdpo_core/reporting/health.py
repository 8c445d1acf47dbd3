"""Whether a finished run looks healthy, in sentences: what its numbers say, and what answers it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mdpo_core.reporting.stored_run import means_of_last_tenth

Records = Sequence[Mapping[str, float]]

_CHOSEN = "rewards/chosen"
# Of the answers, whether the picture is there; in metrics of earlier versions it has the second name.
_PICTURE = ("logps/accuracy/picture", "picture/accuracy")
_HELD_OUT = "eval/preference/"
PROBE = "eval/probe/"
_CLOSE = 0.05  # accuracies that differ by less are as good as equal
_RELIES = 1.0  # nats that a chosen answer loses without its picture, more than before training, if it relies on it
FEWEST_PROBED = 8  # rows, below which a probe's numbers are chance
_HEALTHY = "healthy: no chosen reward below 0, no loss that stayed where it began"
_FEWEST = 20  # held-out rows, below which their numbers are chance
_LOG_2 = math.log(2)
# A pair term whose margin never left 0 has this loss; a run that learned anything is further away.
_NEAR = 0.01
_LEAST_USE = 0.6
_ADD_ANCHOR = "An anchor answers that: {anchor: reward, on: chosen}"
_RAISE_ANCHOR = "Raise the weight of the anchor, or lower train.learning_rate"
_ADD_CONDITION = "A term over an image condition answers that: {loss: dpo, over: chosen@crop}"
_TRAIN_MORE = "Train for more epochs, or raise the weight of the term over the image condition"
_TOLD_APART = 0.75  # share of the pairs whose preferred answer has the higher reward


@dataclass(frozen=True)
class Known:
    """What is known of a run beside its numbers.

    ``anchored``: whether an anchor is among its terms; ``compares_pictures``: whether a term over an image condition
    is; ``num_held_out``: rows on which it was measured; ``num_probed``: rows of a probe.
    """

    anchored: bool = False
    compares_pictures: bool = False
    num_held_out: int = 0
    num_probed: int = 0


def verdict(records: Records, known: Known) -> list[str]:
    """Sentences on whether a run looks healthy, by its lines of metrics.jsonl."""
    found = [f"look at this: {each}." for each in findings(records, known)] or [_HEALTHY]
    if 0 < known.num_held_out < _FEWEST:
        found.append(f"{known.num_held_out} held-out rows are too few to judge by; hold out {_FEWEST} or more")
    return found


def findings(records: Records, known: Known) -> list[str]:
    """What is wrong with a run, a sentence each; empty if nothing is. Few held-out rows are not judged by."""
    logged = [record for record in records if "loss" in record]
    trained = means_of_last_tenth(logged)
    evaluated = [record for record in records if any(name.startswith("eval/") for name in record)]
    last = evaluated[-1] if evaluated and known.num_held_out >= _FEWEST else {}
    found = [*_of_training(trained, last, known)]
    found += of_probes([record for record in records if f"{PROBE}accuracy" in record], known)
    return [*found, *_of_held_out(last, trained), *_of_pictures(last, known)]


def _of_training(last: Mapping[str, float], held_out: Mapping[str, float], known: Known) -> Iterator[str]:
    """``last``: the end of training; ``held_out``: the last evaluation, empty if it has too few rows to judge by."""
    chosen = last.get(_CHOSEN)
    if chosen is not None and chosen < 0:
        yield (
            f"the reward of the chosen answers ended below 0 ({chosen:+.3f}): the model now finds them less likely "
            f"than before training. {_RAISE_ANCHOR if known.anchored else _ADD_ANCHOR}"
        )
    apart = {label for label in _compared(last) if _told_apart(f"{_HELD_OUT}rewards/accuracy/{label}", held_out)}
    stuck = [label for label in _compared(last) if label not in apart and _learned_nothing(label, last)]
    if stuck:
        yield (
            f"the loss of {_terms(stuck)} stayed at log 2 (0.693): there the model did not learn what to prefer. Look "
            "whether what is compared differs, and try a larger train.learning_rate, or more steps"
        )


def _learned_nothing(label: str, last: Mapping[str, float]) -> bool:
    """Whether the loss of a term is at log 2, and not only because a small beta makes all margins small."""
    is_near = abs(last.get(f"loss/{label}", 0.0) - _LOG_2) < _NEAR
    return is_near and not _told_apart(f"rewards/accuracy/{label}", last)


def _told_apart(accuracy: str, last: Mapping[str, float]) -> bool:
    """Whether the metric named ``accuracy`` says that most answers are told apart; False without it."""
    return last.get(accuracy, 0.0) >= _TOLD_APART


def _compared(last: Mapping[str, float]) -> list[str]:
    """The labels of the terms that compare two answers under a reference: they log a margin."""
    return [name.removeprefix("rewards/margin/") for name in last if name.startswith("rewards/margin/")]


def _of_held_out(last: Mapping[str, float], trained: Mapping[str, float]) -> Iterator[str]:
    """``last``: the last evaluation; ``trained``: the end of training, by which a term learned nothing at all."""
    own = {name.removeprefix(_HELD_OUT): value for name, value in last.items() if name.startswith(_HELD_OUT)}
    stuck = [each for each in _compared(own) if _learned_nothing(each, own) and not _learned_nothing(each, trained)]
    if stuck:
        yield (
            f"the loss of {_terms(stuck)} stayed at log 2 (0.693) on the held-out rows: what was learned does not hold "
            "for rows that were not trained on. More rows, or fewer epochs, answer that"
        )


def _terms(labels: Sequence[str]) -> str:
    return f"the term {labels[0]}" if len(labels) == 1 else f"the terms {' and '.join(labels)}"


def _of_pictures(last: Mapping[str, float], known: Known) -> Iterator[str]:
    share = next((last[name] for each in _PICTURE if (name := f"{_HELD_OUT}{each}") in last), 1.0)
    if share < _LEAST_USE:
        yield (
            f"only {share:.0%} of the {known.num_held_out} held-out answers are likelier with their picture than "
            f"without: the model hardly looks at it. {_TRAIN_MORE if known.compares_pictures else _ADD_CONDITION}"
        )


def of_probes(probed: Records, known: Known) -> Iterator[str]:
    """What the evaluator `probe` found: the preference does not need the picture, or the chosen answers sank.

    The step before training is not judged: no answer has a reward there.
    """
    later = [record for record in probed if record["step"] > 0]
    if not later or known.num_probed < FEWEST_PROBED:
        return
    yield from _of_need(later[-1], known)
    chosen = later[-1][f"{PROBE}chosen"]
    sunk = [record for record in later if record[f"{PROBE}chosen"] < 0]
    if len(sunk) > len(later) / 2 and chosen < 0:
        yield (
            f"the probed chosen answers had a reward below 0 in {len(sunk)} of {len(later)} probes, {chosen:+.2f} nats "
            f"at last: good answers become less likely. {_RAISE_ANCHOR if known.anchored else _ADD_ANCHOR}"
        )


def _of_need(last: Mapping[str, float], known: Known) -> Iterator[str]:
    """Whether the preference needs the picture, by the last probe.

    The rejected answers may show without a picture what is wrong with them, whatever is trained. A term over an image
    condition then still makes the chosen answers rely on it: they lose more without it than before training.
    """
    seen, unseen = last[f"{PROBE}accuracy"], last.get(f"{PROBE}accuracy/without")
    if unseen is None or unseen <= seen - _CLOSE:
        return
    chosen, without = last[f"{PROBE}chosen"], last.get(f"{PROBE}chosen/without", -math.inf)
    if chosen < 0 or not known.compares_pictures or without > chosen - _RELIES:
        yield (
            f"the chosen answers are preferred without the picture as well ({unseen:.0%} of the probed pairs, "
            f"{seen:.0%} with it): the preference does not need it. "
            f"{_TRAIN_MORE if known.compares_pictures else _ADD_CONDITION}"
        )
