"""Sample answers of a run, before and after training, with words marked: of a list, or unlike the chosen answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mdpo_core.reporting.page.words import differences

_MARK = re.compile(r"<(image|video)>")


def samples_html(lines: Sequence[Mapping[str, Any]]) -> str:
    """The answers as HTML; nothing without any. ``lines``: those of samples.jsonl."""
    if not lines:
        return ""
    first, last = lines[0]["step"], lines[-1]["step"]
    before = {line["id"]: line for line in lines if line["step"] == first}
    after = [line for line in lines if line["step"] == last]
    what = "of the recipe's list" if any(map(_words, lines)) else "that the chosen answer does not have there"
    marked = f"<p class=quiet>Words {what} are marked.</p>"
    return marked + "".join(_row(before.get(line["id"], line), line, first, last) for line in after)


def _row(before: Mapping[str, Any], after: Mapping[str, Any], first: int, last: int) -> str:
    answers = {f"step {first}": before, f"step {last}": after} if first != last else {f"step {last}": after}
    shown = [_answer(name, _shown(each)) for name, each in answers.items()]
    shown += [_answer(name, escape(after[name])) for name in ("chosen", "rejected") if after.get(name)]
    whose = "" if after.get("held_out") else " <span class=chip>trained on</span>"
    question = escape(" ".join(_MARK.sub(" ", after["prompt"]).split()))
    return (
        f"<article class=row><header><h3 dir=auto>{question}</h3>{whose}</header>{_beginning(after)}"
        f"<div class=answers>{''.join(shown)}</div></article>"
    )


def _beginning(line: Mapping[str, Any]) -> str:
    """The text that all answers to a row go on from; nothing if they are whole."""
    text = line.get("beginning")
    return f"<p class=words dir=auto><span class=quiet>each goes on from:</span> {escape(text)}</p>" if text else ""


def _answer(name: str, html: str) -> str:
    return f"<section class=answer><h5>{name}</h5><p class=words dir=auto>{html or '(nothing)'}</p></section>"


def _shown(line: Mapping[str, Any]) -> str:
    if _words(line) or not line.get("chosen"):
        return _marked(line["answer"], _words(line))
    pieces = differences(line["chosen"], line["answer"])[1]
    texts = ((escape(piece.text), piece.differs and bool(piece.text.strip())) for piece in pieces)
    return "".join(f"<mark>{text}</mark>" if differs else text for text, differs in texts)


def _words(line: Mapping[str, Any]) -> Sequence[str]:
    return line.get("words") or ()


def _marked(text: str, words: Sequence[str]) -> str:
    """``text`` as HTML, with each of these words marked, as whole words in any case."""
    if not words:
        return escape(text)
    inner = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    pieces = re.split(rf"(?<!\w)({inner})(?!\w)", text, flags=re.IGNORECASE)
    return "".join(
        f"<mark>{escape(piece)}</mark>" if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )
