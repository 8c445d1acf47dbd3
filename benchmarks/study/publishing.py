"""Write what the study found: its page, its figures, and the table of the quickstart's page."""

from __future__ import annotations

from pathlib import Path

from benchmarks.study.figures import draw
from benchmarks.study.numbers import WorldNumbers, load
from benchmarks.study.page import figure_name, page_of
from benchmarks.study.variants import BASE
from mdpo_core.words.tables import markdown_table

BEGIN, END = "<!-- from study.json: python -m benchmarks.study --page -->\n", "\n<!-- end -->"

_QUICKSTART = {
    BASE: "base",
    "dpo": "DPO",
    "dpo_no_image": "DPO (No Image)",
    "no_anchor": "mDPO without the anchor",
    "mdpo": "mDPO",
}


def publish(folder: Path) -> None:
    """Write ``study.md`` and its figures from ``study.json``, and the table in ``quickstart.md`` if it is there."""
    worlds = load(folder / "study.json")
    (folder / "study.md").write_text(page_of(worlds))
    for name, world in worlds.items():
        draw(world, folder / figure_name(name))
    page = folder / "quickstart.md"
    if page.is_file() and "digits" in worlds:
        page.write_text(with_table(page.read_text(), quickstart_table(worlds["digits"])))


def quickstart_table(digits: WorldNumbers) -> str:
    """What the quickstart's recipes give, by seed."""
    rows = []
    for variant, title in _QUICKSTART.items():
        cells = [title]
        for measure in digits.measures:
            values = list(digits.values(variant, measure.name).values())
            shown = values[:1] if variant == BASE else values
            cells.append(", ".join(f"{value:{measure.form}}" for value in shown))
        rows.append(cells)
    return markdown_table(["trained with", *(measure.title for measure in digits.measures)], rows)


def with_table(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}"
