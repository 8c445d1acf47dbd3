"""A page as one HTML text: nothing is loaded from elsewhere, and everything from a run is escaped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from mdpo_core.reporting.page.charts import Chart, as_json

_ASSETS = Path(__file__).parent / "assets"


def whole_page(title: str, body: str, charts: Sequence[Chart] = (), style: str = "") -> str:
    """The whole page. ``body``: HTML below its title.

    ``charts``: those whose places `charts_html` made in it; ``style``: rules of its own.
    """
    style = _asset("report.css") + style
    script = _script() if charts else ""
    drawn = f"<script type='application/json' id=charts>{as_json(charts)}</script><script>{script}</script>"
    # Nothing in a run can load or run anything, even if some text were not escaped.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {_hash_of(script)}"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{body}</main>{drawn if charts else ''}</body></html>\n"
    )


def _script() -> str:
    """Plotly, whole, and what draws the charts with it."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return f"{get_plotlyjs()}\n{_asset('charts.js')}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _hash_of(script: str) -> str:
    """What a policy calls the one script that may run."""
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def charts_html(charts: Sequence[Chart]) -> str:
    """The places of the charts; those that few people look at are folded."""
    boxes = [
        f"<div class=panel><h3>{escape(chart.title)}</h3><div class=chart data-chart={number}></div></div>"
        for number, chart in enumerate(charts)
    ]
    seen, extra = (
        "".join(box for box, chart in zip(boxes, charts, strict=True) if chart.is_extra is is_extra)
        for is_extra in (False, True)
    )
    more = folded("more curves", f"<div class=charts>{extra}</div>" if extra else "")
    none = "<noscript><p>The curves need JavaScript; metrics.jsonl has their numbers.</p></noscript>"
    return f"{none}<div class=charts>{seen}</div>{more}" if charts else ""


def section(title: str, body: str) -> str:
    """A part of the page with a title; nothing if it is empty."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def cards_html(cards: Mapping[str, str]) -> str:
    """Numbers by what they are of."""
    items = (f"<li class=card><b>{escape(number)}</b>{escape(name)}</li>" for name, number in cards.items())
    return f"<ul class=cards>{''.join(items)}</ul>"


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts; the first cell of a row names it. Nothing if there is no row."""
    lines = [
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    ]
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class=wide><table>{body}</table></div>" if lines else ""


def list_html(sentences: Iterable[str], kind: str = "said") -> str:
    """Sentences, one below the other; those that begin with ``look at this`` stand out."""
    items = "".join(
        f"<li{' class=alarm' if each.startswith('look at this') else ''}>{escape(each)}</li>" for each in sentences
    )
    return f"<ul class={kind}>{items}</ul>" if items else ""


def folded(title: str, body: str) -> str:
    """What is seen when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""
