"""The page as one HTML text: nothing is loaded from elsewhere, and everything from the data is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import median

from mdpo_core.cli.preview.contents import Contents, Reason
from mdpo_core.cli.preview.row_view import row_html, short_place
from mdpo_core.reporting.page.frame import whole_page
from mdpo_core.words.amounts import counted

_STYLE = Path(__file__).parents[1] / "templates" / "preview.css"
_BARS, _FAR = 32, 3
_GROUPS_SHOWN, _PLACES_SHOWN = 12, 6
_ROLES = (
    ("system", "system"),
    ("user", "user"),
    ("assistant", "assistant"),
    ("ready", "ready-made prompt"),
    ("template", "template"),
    ("image", "image tokens"),
    ("scored", "scored"),
    ("read", "not scored"),
)


def page_html(contents: Contents) -> str:
    """The whole page."""
    return whole_page(contents.title, f"{_of_rows(contents)}{_validation(contents)}", style=_STYLE.read_text())


def _of_rows(contents: Contents) -> str:
    """What there is to see of the rows of a reader."""
    fault = f"<p class=fault dir=auto>{escape(contents.fault)}</p>" if contents.fault else ""
    return (
        f"<p class=quiet>What the model gets of the rows of {escape(contents.reader)}.</p>{fault}"
        f"{_cards(contents)}{_lengths(contents)}{_reasons(contents)}{_duplicates(contents)}{_rows(contents)}"
    )


def _validation(contents: Contents) -> str:
    if contents.validation is None:
        return ""
    title = f"{escape(contents.validation.title)} <span class='chip held'>not trained on</span>"
    return f"<h1 class=validation>{title}</h1>{_of_rows(contents.validation)}"


def _cards(contents: Contents) -> str:
    num_repeated = sum(len(group) - 1 for group in contents.duplicates)
    cards = [
        (f"{contents.num_rows:,}", "rows"),
        (f"{len(contents.lengths):,}", "sound"),
        (f"{contents.num_bad:,}", "bad"),
        (f"{num_repeated:,}", "duplicates"),
        (f"{median(contents.lengths):,.0f}" if contents.lengths else "-", "tokens in the median row"),
    ]
    if contents.num_held_out or contents.fault:
        cards.insert(2, (f"{contents.num_held_out:,}", "of them held out"))
    items = "".join(f"<li class={_card_class(name, number)}><b>{number}</b>{name}</li>" for number, name in cards)
    return f"<ul class=cards>{items}</ul>"


def _card_class(name: str, number: str) -> str:
    return "alarm" if name == "bad" and number != "0" else "card"


def _lengths(contents: Contents) -> str:
    if not contents.lengths:
        return ""
    longest, limit = max(contents.lengths), contents.max_length
    # A limit that is far away is only named: the bars would stand in one corner.
    top = max(longest, limit) if limit <= _FAR * longest else longest
    counts = [0] * _BARS
    for length in contents.lengths:
        counts[min(_BARS - 1, length * _BARS // (top + 1))] += 1
    bars = "".join(_bar(place, count, max(counts), top) for place, count in enumerate(counts))
    line = f"<div class=limit style='left:{100 * limit / top:.2f}%'></div>" if limit <= top else ""
    end = f"model.max_length = {limit:,}" if limit <= top else f"{top:,}; model.max_length = {limit:,} is far beyond"
    return (
        f"<section><h2>Lengths</h2><div class=histogram><div class=bars>{bars}</div>{line}</div>"
        f"<div class=axis><span>0</span><span>{end}</span></div>"
        f"<p class=quiet>Tokens of a prompt with the longest of its answers, row by row: from "
        f"{min(contents.lengths):,} to {longest:,}.</p></section>"
    )


def _bar(place: int, count: int, highest: int, top: int) -> str:
    # A bar of one row among thousands is still seen.
    height = max(3.0, 100 * count / highest) if count else 0
    first, last = place * (top + 1) // _BARS, (place + 1) * (top + 1) // _BARS - 1
    return f"<i style='height:{height:.1f}%' title='{first:,} to {last:,} tokens: {counted(count, 'row')}'></i>"


def _reasons(contents: Contents) -> str:
    if not contents.reasons:
        return "<section><h2>Bad rows</h2><p class=quiet>None.</p></section>"
    items = "".join(map(_reason, contents.reasons))
    return f"<section><h2>Bad rows, by reason</h2><ul class=reasons>{items}</ul></section>"


def _reason(reason: Reason) -> str:
    more = f", and {reason.num_rows - len(reason.places):,} more" if reason.num_rows > len(reason.places) else ""
    return (
        f"<li><b>{reason.num_rows:,}</b><div><p dir=auto>{escape(reason.example)}</p>"
        f"<p class=quiet>{escape('; '.join(map(short_place, reason.places)))}{more}</p></div></li>"
    )


def _duplicates(contents: Contents) -> str:
    if not contents.duplicates:
        return "<section><h2>Duplicates</h2><p class=quiet>No two sound rows are equal.</p></section>"
    shown = [_group(places) for places in contents.duplicates[:_GROUPS_SHOWN]]
    rest = len(contents.duplicates) - len(shown)
    more = [f"<li class=quiet>… and {rest:,} more groups</li>"] if rest else []
    items = "".join([*shown, *more])
    return (
        "<section><h2>Duplicates</h2><p class=quiet>Rows that are equal but for their ids.</p>"
        f"<ul class=groups>{items}</ul></section>"
    )


def _group(places: Sequence[str]) -> str:
    rest = len(places) - _PLACES_SHOWN
    more = f", and {rest:,} more" if rest > 0 else ""
    return f"<li>{escape(' = '.join(map(short_place, places[:_PLACES_SHOWN])))}{more}</li>"


def _rows(contents: Contents) -> str:
    if not contents.rows:
        return "<section><h2>Rows</h2><p class=quiet>There is no sound row to show.</p></section>"
    return f"<section><h2>Rows</h2>{_legend(contents)}{''.join(_sources(contents))}</section>"


def _sources(contents: Contents) -> Iterator[str]:
    for source, rows in contents.rows.items():
        title = f"<h3 class=source>source <bdi>{escape(source)}</bdi></h3>" if source else ""
        yield title + "".join(map(row_html, rows))


def _legend(contents: Contents) -> str:
    """The colours that occur."""
    rows = [row for rows in contents.rows.values() for row in rows]
    runs = [run.role for row in rows for run in row.prompt]
    runs += [run.role for row in rows for answer in row.answers for run in answer.tokens]
    keys = "".join(f"<span class='run {role}'>{name}</span>" for role, name in _ROLES if role in runs)
    return f"<p class=legend>{keys}<mark>differs from the other answer</mark></p>"
