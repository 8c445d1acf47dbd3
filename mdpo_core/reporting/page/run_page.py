"""The report of one run as a page, made of what the run has left on the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from mdpo_core.reporting.health import PROBE, Known, verdict
from mdpo_core.reporting.known import known_of_stored
from mdpo_core.reporting.page.changed_pictures import RowPictures, rows_html
from mdpo_core.reporting.page.charts import charts_of
from mdpo_core.reporting.page.frame import cards_html, charts_html, folded, list_html, section, table_html, whole_page
from mdpo_core.reporting.page.probed import probe_html
from mdpo_core.reporting.page.samples import samples_html
from mdpo_core.reporting.stored_run import StoredRun
from mdpo_core.reporting.table_text import number_text
from mdpo_core.storage.metrics_file import SamplesFile, WarningsFile
from mdpo_core.words.amounts import counted, duration, memory_of
from mdpo_core.words.not_yet import NOT_YET, NOT_YET_MEANS, is_not_yet


class Beside(NamedTuple):
    """What is known while a run goes on, and not stored.

    ``known``: by which its numbers are judged; ``parts``: the numbers of each part of the model; ``pictures``: of some
    rows.
    """

    known: Known
    parts: Mapping[str, Mapping[str, float]]
    pictures: Sequence[RowPictures]


def run_page(run: StoredRun, beside: Beside | None = None) -> str:
    """The whole page. Raises `CheckpointError` if the samples or the warnings of the run are damaged."""
    charts = charts_of(run.records)
    known = beside.known if beside else known_of_stored(run.recipe, run.path)
    samples = SamplesFile(run.path / "samples.jsonl").records()
    warnings = WarningsFile(run.path / "warnings.jsonl").records()
    body = "".join(
        [
            f"<p class=quiet>{escape(_said_of(run))}</p>",
            cards_html(dict(_cards(run))),
            section("Is it healthy?", list_html(verdict(run.records, known), "health")),
            section("Is the picture used?", probe_html(run.records, known)),
            section("Warnings", list_html(warnings)),
            section("Before and after", _before_and_after(run)),
            section("Curves", charts_html(charts)),
            section("Answers", samples_html(samples)),
            section("Pictures, and what the corruptions make of them", rows_html(beside.pictures) if beside else ""),
            section("What was trained", table_html(("part", "trained", "of"), _parts(beside.parts)) if beside else ""),
            section("What was run", _inputs(run)),
        ]
    )
    return whole_page(run.name, body, charts)


def _said_of(run: StoredRun) -> str:
    terms = ", ".join(_name_of(term) for term in run.recipe.get("objective") or ())
    options = run.recipe.get("model") or {}
    model = options.get("path") or options.get("adapter")
    done = "" if run.is_finished else f" Not finished: these are its numbers up to step {run.last_step:,}."
    return f"{model} trained on {terms}.{done}"


def _name_of(term: Mapping[str, Any]) -> str:
    return str(term.get("label") or term.get("loss") or term.get("anchor"))


def _cards(run: StoredRun) -> Iterator[tuple[str, str]]:
    yield "steps", f"{run.last_step:,}"
    if not _is_streamed(run):
        yield "pairs to train on", f"{run.manifest['data']['rows']:,}"
    rates = [record["pairs_per_second"] for record in run.records if "pairs_per_second" in record]
    if rates:
        yield "pairs a second, at the median step", number_text(sorted(rates)[len(rates) // 2])
        pairs = run.last_step * (run.recipe.get("train") or {}).get("batch_size", 0)
        yield "of training, about", duration(pairs / max(sorted(rates)[len(rates) // 2], 1e-9))
    held = [record["memory_gb"] for record in run.records if "memory_gb" in record]
    if held:
        yield "of memory at most", memory_of(1e9 * max(held))


def _is_streamed(run: StoredRun) -> bool:
    """Whether nobody knows the number of its rows: the manifest counts those of the first buffer."""
    return bool((run.recipe.get("data") or {}).get("streaming"))


def _before_and_after(run: StoredRun) -> str:
    lines = list(_evaluations(run))
    meaning = f"<p class=quiet>{NOT_YET_MEANS}</p>" if any(before == NOT_YET for _, before, _ in lines) else ""
    return table_html(("metric", "before", "after"), lines) + meaning


def _evaluations(run: StoredRun) -> Iterator[tuple[str, str, str]]:
    first = {name: each.before for name, each in run.measured.items() if each.before is not None}
    for name, measured in run.measured.items():
        if name.startswith(("eval/", "answered/")) and not name.startswith(PROBE):  # it has a part of its own
            before = NOT_YET if is_not_yet(name, first) else number_text(first[name]) if name in first else ""
            yield name.removeprefix("eval/"), before, number_text(measured.after)


def _parts(parts: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str, str]]:
    for name, part in parts.items():
        lora = f" (LoRA of rank {part['lora_rank']:.0f})" if part["lora_rank"] else ""
        yield name, f"{part['trained']:,.0f}{lora}", f"{part['trained'] + part['frozen']:,.0f}"


def _inputs(run: StoredRun) -> str:
    data, versions = run.manifest["data"], run.manifest.get("versions", {})
    rows = counted(data["rows"], "row")
    read = f"a stream, of which {rows} were read at the start" if _is_streamed(run) else f"{rows} to train on"
    said = [f"{read}, sha256 {data['sha256']}"]
    if "held_out" in data:
        said.append(f"{counted(data['held_out']['rows'], 'held-out row')}, sha256 {data['held_out']['sha256']}")
    if data.get("quarantined"):
        said.append(f"{counted(data['quarantined'], 'bad row')} left out; quarantine.jsonl says why")
    return (
        list_html(said)
        + folded("recipe", f"<pre>{escape((run.path / 'recipe.yaml').read_text(encoding='utf-8'))}</pre>")
        + folded("versions", table_html(("package", "version"), versions.items()))
        + folded("files of the model, by sha256", f"<pre>{escape(json.dumps(run.manifest['model'], indent=1))}</pre>")
    )
