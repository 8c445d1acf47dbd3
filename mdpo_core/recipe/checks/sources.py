"""What metrics by source need of the data and of the terms' labels."""

from __future__ import annotations

from types import NoneType

from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.reader import Reader
from mdpo_core.recipe.sections import Found, Sections


def metrics_by_source(sections: Sections) -> Found:
    """The problems of ``train.metrics_by_source``: rows without sources, and two metrics of one name."""
    if not sections.train.metrics_by_source:
        return
    sources = sources_of(sections.data)
    if sources == ():
        yield (
            ("train", "metrics_by_source"),
            f"the rows of the reader '{sections.data.component_name()}' name no source; use the reader 'mixture', or "
            "set train.metrics_by_source: false",
        )
    yield from _equal_names(sections, sources or ())


def evaluators_by_source(sections: Sections) -> Found:
    """The same problems of evaluators that measure the held-out rows by source."""
    rows = sections.validation or (sections.data if sections.data.hold_out is not None else None)
    asking = [(position, each) for position, each in sections.evaluators if measures_by_source(each)]
    if rows is None or not asking:
        return  # rows that are missing have a problem of their own
    sources = sources_of(rows)
    for position, evaluator in asking if sources == () else ():
        yield (
            ("evaluators", position),
            f"'{evaluator.component_name()}' measures by source, but the rows of the reader '{rows.component_name()}' "
            "name no source; use the reader 'mixture', or leave by_source out",
        )
    if not ("train" in sections.names and sections.train.metrics_by_source):  # which tells the same
        yield from _equal_names(sections, sources or ())


def measures_by_source(evaluator: Evaluator) -> bool:
    """Whether an evaluator says so. Raises `PluginError` if it cannot tell."""
    source = f"reads_sources of the evaluator '{evaluator.component_name()}'"
    return told_by_plugin(source, lambda: evaluator.reads_sources, bool, "true or false")


def sources_of(reader: Reader) -> tuple[str, ...] | None:
    """The sources of a reader's rows; None: only the rows can tell. Raises `PluginError` for anything else."""
    source = f"names_of_sources() of the reader '{reader.component_name()}'"
    return told_by_plugin(source, reader.names_of_sources, (tuple, NoneType), "a tuple of names, or None")


def _equal_names(sections: Sections, sources: tuple[str, ...]) -> Found:
    """Labels with which the metric of a term would have the name of the metric of a source."""
    of_sources = {f"loss/{source}" for source in sources}
    for position, term in sections.terms:
        names = [f"loss/{term.label}", *(f"loss/{term.label}/{source}" for source in sources)]
        equal = next((name for name in names if term.label is not None and name in of_sources), None)
        if equal is not None:
            text = f"'{equal}' would also be the loss of a source; give the term another label"
            yield ("objective", position, "label"), text
            return
