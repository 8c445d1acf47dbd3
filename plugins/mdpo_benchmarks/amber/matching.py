"""Answers to AMBER meet what is annotated: each by its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mdpo_benchmarks.amber.annotations import Picture, YesNo
from mdpo_benchmarks.amber.own_ids import Query, read_queries, with_own_ids
from mdpo_core import Answer, DataError, Problem

Item = Picture | YesNo
Pairs = Sequence[tuple[Answer, Item]]
_MOST = 10  # problems that are shown


def matched(answers: Sequence[Answer], annotations: Mapping[str, Item], query_file: Path | None) -> Pairs:
    """Each answer with what is annotated, in their order.

    Raises `DataError` for ids that are not annotated, for two answers to a yes/no question, for the same description
    twice, and for answers whose file names another question or another right answer. Several descriptions of a picture
    all count, as in the official script.
    """
    first: dict[str | None, Answer] = {}
    problems = []
    asked = read_queries(query_file) if any(answer.prompt is not None for answer in answers) else {}
    answers = with_own_ids(answers, annotations, asked)
    for answer in answers:
        problem = _problem(answer, annotations.get(str(answer.id)), first.get(answer.id), asked)
        if problem is not None:
            problems.append(Problem(answer.where, "", problem))
        first.setdefault(answer.id, answer)
    if problems:
        more = len(problems) - _MOST
        cut = [Problem("", "", f"and {more:,} more problems of this file")] if more > 0 else []
        raise DataError([*problems[:_MOST], *cut])
    return [(answer, annotations[str(answer.id)]) for answer in answers]


def _problem(answer: Answer, item: Item | None, before: Answer | None, asked: Mapping[str, Query]) -> str | None:
    if item is None and answer.id is None:
        return "does not say which picture of AMBER it describes: it has no id, and its number and objects fit none"
    if item is None:
        return f"annotations.json has no id {answer.id!r}; are these answers to AMBER?"
    if before is not None and (isinstance(item, YesNo) or answer.response == before.response):
        return f"{answer.id} was answered in {before.where}, too"
    right = str(answer.values.get("answer", "")).lower()
    if isinstance(item, Picture):
        says = f"says that {right} is right, but in annotations.json {answer.id} is a picture to describe"
        return says if right in ("yes", "no") else None
    if right in ("yes", "no") and right != item.truth:
        return f"says that {right} is right, but in annotations.json the answer to {answer.id} is {item.truth}"
    query = asked.get(str(answer.id))
    if query is not None and answer.prompt is not None and query.text not in answer.prompt:
        return f"answers {answer.prompt!r}, but the question {answer.id} is {query.text!r}"
    return None


def notes(pairs: Pairs, annotations: Mapping[str, Item], in_task: Callable[[Item], bool]) -> list[str]:
    """What a reader of the figures must know of the answers that are missing, repeated or not of this task."""
    found = []
    for kind, what in ((Picture, "pictures to describe"), (YesNo, "yes/no questions")):
        num_all = sum(isinstance(item, kind) and in_task(item) for item in annotations.values())
        answered = Counter(answer.id for answer, item in pairs if isinstance(item, kind) and in_task(item))
        if len(answered) < num_all:
            found.append(f"{num_all - len(answered):,} of {num_all:,} {what} have no answer; they do not count")
        repeated = [id for id, number in answered.items() if number > 1]
        if repeated:
            found.append(f"ids with more than one answer: {', '.join(map(str, repeated[:5]))}; each answer counts")
    others = sum(not in_task(item) for _, item in pairs)
    if others:
        found.append(f"{others:,} of {len(pairs):,} answers belong to other tasks; they do not count")
    return found
