"""What a stream of rows needs of the other sections."""

from __future__ import annotations

from types import NoneType

from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.recipe.sections import Found, Sections
from mdpo_core.words.amounts import counted


def streaming(sections: Sections) -> Found:
    """The problems of a stream: no number of steps, and what needs all rows beforehand."""
    if not sections.data.is_streamed():
        return
    if "train" in sections.names and sections.train.max_steps is None:
        yield ("train",), "a stream has no last row, so the run needs train.max_steps, the number of optimizer steps"
    yield from _small_blocks(sections)
    if sections.data.hold_out is not None:
        yield (
            ("data", "hold_out"),
            "rows of a stream cannot be held out; give rows of their own: validation: {reader: ...}",
        )
    if sections.data.duplicates == "quarantine":
        text = "a stream never has all rows at once, so equal ones are not found; write duplicates: keep"
        yield ("data", "duplicates"), text
    cached = "reference" in sections.names and sections.reference == "cached"
    if cached and any(term.reads_reference for _, term in sections.terms):
        yield (
            ("reference",),
            "'cached' scores every row before training, but a stream has no last row; use adapter_off or frozen_copy, "
            "or data.streaming: false",
        )


def _small_blocks(sections: Sections) -> Found:
    """Blocks with fewer rows than a step, so that every step would be smaller than the recipe says."""
    rows = told_by_plugin(
        f"rows_at_once of the reader '{sections.data.component_name()}'",
        lambda: sections.data.rows_at_once,
        (int, NoneType),
        "a number of rows, or None",
    )
    if rows is not None and "train" in sections.names and rows < sections.train.batch_size:
        yield (
            ("data",),
            f"gives at most {counted(rows, 'row')} at once, fewer than train.batch_size: "
            f"{sections.train.batch_size}, and every step would be smaller; raise the buffer of the stream "
            "(shuffle_buffer), or lower train.batch_size",
        )
