"""Some answers of a run, before and after it, for the summary."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from mdpo_core.words.amounts import counted

_SHOWN = 3  # rows
_LONGEST = 3  # lines of a text


def answers_before_and_after(lines: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Lines of text, at most ``width`` characters wide; none without answers. ``lines``: those of samples.jsonl."""
    if not lines:
        return []
    first, last = lines[0]["step"], lines[-1]["step"]
    before = {line["id"]: line for line in lines if line["step"] == first}
    after = [line for line in lines if line["step"] == last]
    rows = counted(len(after), "held-out row")
    if not after[0].get("held_out"):
        rows = f"{counted(len(after), 'row')} of the training (none is held out)"
    marked = "; [ ] marks words of the list" if any(line.get("words") for line in lines) else ""
    steps = counted(last, "step")
    title = f"answers to {min(_SHOWN, len(after))} of {rows}, before and after {steps}{marked}:"
    shown = textwrap.wrap(title, width)
    for line in after[:_SHOWN]:
        shown += [f"  {_short(_question(line['prompt']), width - 2, 1)[0]}"]
        if line.get("beginning"):
            shown += _labelled("begun", line["beginning"], width)
        texts = {"before": before.get(line["id"], line), "after": line} if last != first else {"answer": line}
        for name, each in texts.items():
            shown += _labelled(name, _marked(each["answer"], each.get("words") or ()), width)
        if line.get("chosen"):
            shown += _labelled("chosen", line["chosen"], width)
    return shown


def _question(prompt: str) -> str:
    """The prompt on one line, without marks of pictures."""
    return " ".join(re.sub(r"<(image|video)>", " ", prompt).split())


def _labelled(name: str, text: str, width: int) -> list[str]:
    first, *rest = _short(text or "(nothing)", width - 12, _LONGEST)
    return [f"    {name:<8}{first}", *(f"{'':<12}{line}" for line in rest)]


def _short(text: str, width: int, lines: int) -> list[str]:
    """A text, cut to a number of lines. What a terminal does not print stands as U+FFFD."""
    printed = "".join(each if each.isprintable() else "\ufffd" for each in " ".join(text.split()))
    wide = any(unicodedata.east_asian_width(each) in "WF" for each in printed)  # two columns each
    return textwrap.wrap(printed, max(width // 2 if wide else width, 20), max_lines=lines, placeholder=" ...") or [""]


def _marked(text: str, words: Sequence[str]) -> str:
    """``text`` with each of these words in brackets, as whole words in any case."""
    inner = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    return re.sub(rf"(?<!\w)({inner})(?!\w)", r"[\1]", text, flags=re.IGNORECASE) if words else text
