"""One row of the page: its pictures under each condition, its prompt by role, its answers and their tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from mdpo_core.cli.preview.contents import Answer, Condition, RowView
from mdpo_core.cli.preview.tokens import Run
from mdpo_core.reporting.page.pictures import figure_html
from mdpo_core.reporting.page.words import Words
from mdpo_core.words.amounts import counted

_MOST_PIECES = 1200  # tokens of a text that are shown
_MOST_LETTERS = 6000
# The sources of a row in a mixture, and its file up to the number of its row or its line.
_HEAD = re.compile(r"(?P<sources>(?:[^/:]+: )*)(?P<file>(?!example '|row \d).*?(?= row \d|:\d|, |$)|)")


def row_html(row: RowView) -> str:
    """A row as HTML; everything from the data is escaped."""
    mark = f"<span class='chip held'>{_text(row.mark)}</span>" if row.mark else ""
    columns = "".join(f"<span class=chip>{_text(name)} {value:g}</span>" for name, value in row.columns.items())
    return (
        f"<article class=row><header><h3><bdi>{_text(short_place(row.place))}</bdi></h3>"
        f"{mark}"
        f"<span class=chip>id <bdi>{_text(row.id)}</bdi></span>"
        f"<span class=chip>{counted(row.length, 'token')}</span>{columns}"
        f"</header>{_conditions(row.conditions)}"
        f"<h4>Prompt</h4>{_runs(row.prompt)}"
        f"{''.join(_changed_prompt(each) for each in row.conditions if each.prompt)}"
        f"<h4>Answers</h4>{_beginning(row.beginning)}"
        f"<div class=answers>{''.join(map(_answer, row.answers))}</div></article>"
    )


def _conditions(conditions: Sequence[Condition]) -> str:
    if not any(each.pictures or each.fault for each in conditions):
        return "<p class=quiet>No picture.</p>"
    return f"<div class=conditions>{''.join(map(_condition, conditions))}</div>"


def _condition(condition: Condition) -> str:
    what = f" <span class=quiet>{_text(condition.what)}</span>" if condition.what else ""
    kind = "wide" if len(condition.pictures) > 1 and not condition.is_same else "one"
    title = f"<h5>{_text(condition.name)}{what}</h5>"
    return f"<section class='condition {kind}'>{title}<div class=thumbs>{_thumbs(condition)}</div></section>"


def _thumbs(condition: Condition) -> str:
    if condition.fault:
        return f"<p class=fault dir=auto>{_text(condition.fault)}</p>"
    if condition.is_same:
        return "<p class=quiet>as it is</p>"
    return "".join(map(figure_html, condition.pictures)) or "<p class=quiet>no picture</p>"


def _changed_prompt(condition: Condition) -> str:
    title = f"<summary>prompt under {_text(condition.name)}</summary>"
    return f"<details>{title}{_runs(condition.prompt)}</details>"


def _runs(runs: Sequence[Run]) -> str:
    parts, left = [], _MOST_PIECES
    for run in runs:
        if run.role == "image":
            dropped = f", {run.num_dropped:,} dropped" if run.num_dropped else ""
            parts.append(f"<span class='run image'>{run.num_tokens:,} image tokens{dropped}</span>")
            continue
        shown = run.pieces[: max(0, left)]
        parts.append(f"<span class='run {run.role}'>{''.join(map(_token, shown))}</span>" if shown else "")
        left -= len(run.pieces)
    rest = f"<span class=rest>… and {-left:,} more tokens</span>" if left < 0 else ""
    return f"<div class=tokens dir=auto>{''.join(parts)}{rest}</div>"


def _token(piece: str) -> str:
    """A token; a line break is shown, and made."""
    return f"<i>{_text(piece).replace(chr(10), '⏎<br>')}</i>"


def _beginning(text: str) -> str:
    """The beginning of all answers, which is not scored; nothing if they are whole."""
    if not text:
        return ""
    rest = f" … and {len(text) - _MOST_LETTERS:,} more letters" if len(text) > _MOST_LETTERS else ""
    shown = f"<span class=beginning>{_text(text[:_MOST_LETTERS])}</span>{rest}"
    return f"<p class=words dir=auto><span class=quiet>each goes on from, not scored:</span> {shown}</p>"


def _answer(answer: Answer) -> str:
    words, left = [], _MOST_LETTERS
    for each in answer.words:
        words.append(_word(each, left))
        left -= len(each.text)
    rest = f"<span class=rest>… and {-left:,} more letters</span>" if left < 0 else ""
    return (
        f"<section class=answer><h5>{_text(answer.name)} "
        f"<span class=quiet>{counted(answer.num_tokens, 'token')}</span></h5>"
        f"<p class=words dir=auto>{''.join(words)}{rest}</p>"
        f"<details><summary>scored tokens</summary>{_runs(answer.tokens)}</details></section>"
    )


def _word(words: Words, left: int) -> str:
    text = _text(words.text[: max(0, left)])
    return f"<mark>{text}</mark>" if words.differs and text else text


def short_place(place: str) -> str:
    """A row's place without the folders of its file. Sources before it, and all that follows the row, stay."""
    head = _HEAD.match(place)
    assert head is not None, "each part of the pattern may be empty"
    return head["sources"] + head["file"].rpartition("/")[2] + place[head.end() :]


def _text(text: str) -> str:
    return escape(text, quote=True)
