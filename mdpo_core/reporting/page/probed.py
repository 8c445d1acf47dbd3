"""What the probe measured: is the picture used?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mdpo_core.reporting.health import FEWEST_PROBED, PROBE, Known, of_probes
from mdpo_core.reporting.page.frame import list_html, table_html
from mdpo_core.reporting.table_text import number_text
from mdpo_core.words.amounts import counted

Records = Sequence[Mapping[str, float]]

_HEAD = (
    "the chosen and the rejected answer",
    "the chosen one is preferred: share of the pairs",
    "reward of the chosen one, without beta, nats",
    "its log-prob before training, nats a token",
    "its log-prob now, nats a token",
)
_QUIET = "the probe raises no alarm: the chosen answers rely on the picture, and became no less likely"
_NAMES = {"": "with the picture", "without": "without the picture"}


def probe_html(records: Records, known: Known) -> str:
    """A table of the last probe by condition, and what it means; nothing without a probe after training began."""
    probed = [record for record in records if f"{PROBE}accuracy" in record]
    if not probed or probed[-1]["step"] == 0:
        return ""
    first, last = probed[0], probed[-1]
    when = f"{counted(known.num_probed, 'row')}, probed {counted(len(probed), 'time')}, at last after step"
    said = [*(f"look at this: {each}." for each in of_probes(probed, known))] or [_quiet(known)]
    return list_html([*said, f"{when} {last['step']:,.0f}"], "health") + table_html(_HEAD, _rows(first, last))


def _quiet(known: Known) -> str:
    few = f"these are too few rows to judge by: the probe needs {FEWEST_PROBED} or more"
    return _QUIET if known.num_probed >= FEWEST_PROBED else few


def _rows(first: Mapping[str, float], last: Mapping[str, float]) -> Iterator[Sequence[str]]:
    begins = f"{PROBE}accuracy"
    for name in last:
        if name.startswith(begins):
            condition = name.removeprefix(begins).removeprefix("/")
            end = f"/{condition}" if condition else ""
            numbers = (last.get(f"{PROBE}accuracy{end}"), last.get(f"{PROBE}chosen{end}"))
            log_probs = (first.get(f"{PROBE}logps_per_token{end}"), last.get(f"{PROBE}logps_per_token{end}"))
            yield _NAMES.get(condition, f"under {condition}"), *map(_text, (*numbers, *log_probs))


def _text(number: float | None) -> str:
    return "" if number is None else number_text(number)
