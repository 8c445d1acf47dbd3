"""The metrics of Object HalBench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mdpo_benchmarks.coco.captions import Description
from mdpo_benchmarks.object_halbench.replies import Extracted
from mdpo_benchmarks.shares import share
from mdpo_core import JudgeUse, Score

_ANSWERS = 300  # of the official set; its script refuses another number


def score_of(answers: Sequence[Description]) -> Score:
    """The metrics of answers, their counts, and what was found in each answer."""
    rows = [_row(each) for each in answers]
    counts, metrics = _counts(rows), metrics_of(rows)
    warnings = [f"{name} is 0: it is 0 divided by 0" for name, (_, whole) in _shares(counts).items() if not whole]
    if len(answers) != _ANSWERS:
        warnings.append(f"these are {len(answers):,} answers; the official set has {_ANSWERS}")
    return Score(metrics, counts, by_row=rows, warnings=warnings, printed=_printed(metrics, counts))


def metrics_of(by_row: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of what was found in each answer, and RLAIF-V's summary of them."""
    counts = _counts(by_row)
    metrics: dict[str, Any] = {name: share(part, whole) for name, (part, whole) in _shares(counts).items()}
    metrics["correct_rate"] = 1 - metrics["CHAIRs_refine"] if counts["coco_sentence_num"] else 0.0
    metrics["object_correct_rate"] = 1 - metrics["CHAIRi"] if counts["mentions"] else 0.0
    metrics["summary"] = _summary(metrics)
    return metrics


def _shares(counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The counts that each metric divides."""
    return {
        "CHAIRs": (counts["hallucinated_answers"], counts["sentence_num"]),
        "CHAIRs_refine": (counts["hallucinated_answers"], counts["coco_sentence_num"]),
        "CHAIRi": (counts["hallucinated_mentions"], counts["mentions"]),
        "obj_rec": (counts["coco_word_count"], counts["gt_word_count"]),
        "avg_word_len": (counts["words"], counts["sentence_num"]),
    }


def _counts(by_row: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The counts; ``coco_word_count`` is that of right categories, each once an answer, as in the official script."""
    right = [{category for _, category in row["generated"]} & set(row["gt"]) for row in by_row]
    return {
        "sentence_num": len(by_row),
        "coco_sentence_num": sum(bool(row["generated"]) for row in by_row),
        "coco_word_count": sum(map(len, right)),
        "gt_word_count": sum(len(row["gt"]) for row in by_row),
        "hallucinated_answers": sum(row["CHAIRs"] for row in by_row),
        "mentions": sum(len(row["generated"]) for row in by_row),
        "hallucinated_mentions": sum(len(row["hallucinated"]) for row in by_row),
        "words": sum(len(row["caption"].split(" ")) for row in by_row),
    }


def _printed(metrics: dict[str, Any], counts: dict[str, int]) -> str:
    shares = (f"{metrics[name] * 100:.1f}" for name in ("CHAIRs", "CHAIRs_refine", "CHAIRi"))
    numbers = (str(counts[name]) for name in ("sentence_num", "coco_sentence_num"))
    return "\t".join([*shares, *numbers, f"{metrics['avg_word_len']:.1f}"])


def _summary(metrics: dict[str, Any]) -> dict[str, float]:
    """What RLAIF-V's summary of results prints, which papers report: percent, and words."""
    shown = {
        "Response Hall": metrics["CHAIRs_refine"] * 100,
        "Object Hall": metrics["CHAIRi"] * 100,
        "Response Correct": metrics["correct_rate"] * 100,
        "Object Correct": metrics["object_correct_rate"] * 100,
        "Object Recall": metrics["obj_rec"] * 100,
        "Average Length": metrics["avg_word_len"],
    }
    return {name: round(value, 2) for name, value in shown.items()}


def _row(answer: Description) -> dict[str, Any]:
    return {
        **answer.row(),
        "gt": sorted(answer.shown),
        "generated": [[each.word, each.category] for each in answer.found],
        "hallucinated": [[each.word, [each.word, each.category]] for each in answer.hallucinated],
    }


def with_judge(score: Score, judged: Sequence[Extracted], use: JudgeUse) -> Score:
    """The score with the use of the judge: its replies, and those that could not be read."""
    failed = sum(max(0, len(each.replies) - 1) for each in judged)
    odd = sum(not each.listed for each in judged)
    more = [f"{odd} of the judge's replies are no lists; each letter or key counts as an object, as officially"]
    rows = [{**row, "objects": list(each.objects)} for row, each in zip(score.by_row, judged, strict=True)]
    return replace(
        score,
        by_row=rows,
        unparsed=failed,
        warnings=[*score.warnings, *(more if odd else [])],
        judge=use,
    )
