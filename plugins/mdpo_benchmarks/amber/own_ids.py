"""The ids of AMBER for answers of evaluation harnesses, which have numbers of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mdpo_benchmarks.amber.annotations import Picture, YesNo
from mdpo_core import Answer, read_rows


class Query(NamedTuple):
    """A question. ``image``: the name of its picture's file."""

    image: str
    text: str


def read_queries(file: Path | None) -> dict[str, Query]:
    """The questions by their ids. Raises `DataError`."""
    rows = [] if file is None else [row.values for row in read_rows(file)]
    return {str(row.get("id")): Query(str(row.get("image")), str(row.get("query"))) for row in rows}


def with_own_ids(
    answers: Sequence[Answer], annotations: Mapping[str, Picture | YesNo], queries: Mapping[str, Query]
) -> list[Answer]:
    """The answers with AMBER's ids, where a harness has others and its row tells which question it is.

    A table of VLMEvalKit has the picture and the question. A sample of lmms-eval without an id has its number from 0,
    which counts if the objects of the picture are those of that id.
    """
    ids: dict[tuple[str, str], list[str]] = {}
    for id, query in queries.items():
        ids.setdefault(query, []).append(id)
    return [answer._replace(id=_id_of(answer, annotations, ids)) for answer in answers]


def _id_of(
    answer: Answer, annotations: Mapping[str, Picture | YesNo], ids: Mapping[tuple[str, str], list[str]]
) -> str | None:
    if answer.id is None:
        id = str(int(answer.values.get("doc_id", -1)) + 1)
        item = annotations.get(id)
        named = isinstance(item, Picture) and str(list(item.objects)) == answer.values.get("answer")
        return id if named else None
    if not answer.values.keys() >= {"index", "image_path"}:
        return answer.id
    found = ids.get((PurePosixPath(str(answer.values["image_path"])).name, str(answer.prompt).strip()))
    # AMBER asks a few questions twice about a picture: the first row is the answer to the first one.
    return found.pop(0) if found else answer.id
