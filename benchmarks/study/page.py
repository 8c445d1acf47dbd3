"""The page of the study, from its numbers: docs/evidence/study.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.study.claims import CLAIMS
from benchmarks.study.numbers import WorldNumbers
from benchmarks.study.paper import PAPER
from benchmarks.study.variants import BASE, TABLES, title_of
from benchmarks.study.verdicts import Verdict, find
from benchmarks.study.words import HEAD, HOW, LEGEND, NOTHING_YET, TABLE_TITLES
from mdpo_core.reporting.intervals import mean_of
from mdpo_core.words.tables import markdown_table

Worlds = Sequence[WorldNumbers]

_SHORT = {
    Verdict.SHOWN: "**shown**",
    Verdict.NOT_SURE: "in every seed, not surely",
    Verdict.NOT_SHOWN: "not shown",
    Verdict.OPPOSITE: "**opposite shown**",
    Verdict.ONE_SEED: "one seed",
    Verdict.NOT_RUN: "not run",
}


def page_of(worlds: Mapping[str, WorldNumbers]) -> str:
    """The page."""
    known = list(worlds.values())
    parts = [HEAD, _summary(known), *map(_figure, known), LEGEND, HOW, _settings(known)]
    if not known:
        parts = [HEAD, NOTHING_YET, _summary(known), HOW]
    for table, (title, words) in TABLE_TITLES.items():
        parts += [f"## {title}", words, *(_table(table, world) for world in known), _sentences(table, known)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _summary(worlds: Worlds) -> str:
    rows = [(claim.text, claim.paper, *(_SHORT[find(claim, world).verdict] for world in worlds)) for claim in CLAIMS]
    return markdown_table(("claim", "the paper", *(world.title.lower() for world in worlds)), rows)


def _figure(world: WorldNumbers) -> str:
    return f"![{world.title}: {world.measures[0].title} of every variant]({figure_name(world.name)})"


def figure_name(world: str) -> str:
    """The file name of a world's figure, beside the page."""
    return f"study_{world}.png"


def _settings(worlds: Worlds) -> str:
    return "\n".join(map(_setting, worlds))


def _setting(world: WorldNumbers) -> str:
    seeds = ", ".join(map(str, world.seeds))
    versions = ", ".join(f"{name} {version}" for name, version in world.versions.items())
    number, minutes = sum(map(len, world.runs.values())), world.seconds / 60
    changed = "; ".join(f"`{option}`" for option in world.options)
    return (
        f"- **{world.title}**: {world.about}. {number} runs of `{world.recipe}` with {world.steps} steps each, seeds "
        f"{seeds}; {minutes:.0f} minutes of one core, so {minutes / 2:.0f} on two; {versions}. Set for all variants: "
        f"{changed}."
    )


def _table(table: str, world: WorldNumbers) -> str:
    variants = [BASE, *TABLES[table]]
    heads = [each.title for each in world.measures]
    rows = [(title_of(each), *_cells(each, world), *_papers(each)) for each in variants]
    head = (world.title.lower(), *heads, "paper: CHAIRs", "paper: score")
    return markdown_table(head, rows)


def _cells(variant: str, world: WorldNumbers) -> Iterator[str]:
    for measure in world.measures:
        values = list(world.values(variant, measure.name).values())
        if not values:
            yield "not run"
            continue
        mean = mean_of(values)
        if variant == BASE or mean.interval is None:
            yield f"{mean.value:{measure.form}}"
        else:
            yield f"{mean.value:{measure.form}} ± {mean.interval[1] - mean.value:{measure.form.lstrip('+')}}"


def _papers(variant: str) -> tuple[str, str]:
    found = PAPER.get(variant)
    return ("", "") if found is None else (f"{found.chair_s:.1f}", f"{found.score:.2f}")


def _sentences(table: str, worlds: Worlds) -> str:
    lines = []
    for claim in CLAIMS:
        if claim.table == table:
            lines.append(f"- **{_large(claim.text)}** (paper: {claim.paper}).")
            lines += [f"    - {world.title}: {_small(find(claim, world).sentence)}" for world in worlds]
    return "\n".join(lines)


def _large(sentence: str) -> str:
    return sentence if sentence[1].isupper() else sentence[0].upper() + sentence[1:]


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
