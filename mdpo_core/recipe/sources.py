"""What metrics by source need of the data and of the terms' labels."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType

from mdpo_core.interfaces.plugin_results import told_by_plugin
from mdpo_core.interfaces.reader import Reader
from mdpo_core.recipe.sections import Found, Sections


def metrics_by_source(sections: Sections) -> Found:
    """The problems of ``train.metrics_by_source``: rows without sources, and two metrics of one name."""
    if not sections.train.metrics_by_source:
        return
    sources = _sources(sections.data)
    if sources == ():
        yield (
            ("train", "metrics_by_source"),
            f"the rows of the reader '{sections.data.component_name()}' name no source; use the reader 'mixture', or "
            "set train.metrics_by_source: false",
        )
    for position, text in _equal_names(sections, sources or ()):
        yield ("objective", position, "label"), text


def _sources(reader: Reader) -> tuple[str, ...] | None:
    source = f"names_of_sources() of the reader '{reader.component_name()}'"
    return told_by_plugin(source, reader.names_of_sources, (tuple, NoneType), "a tuple of names, or None")


def _equal_names(sections: Sections, sources: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Labels with which the metric of a term would have the name of the metric of a source."""
    of_sources = {f"loss/{source}" for source in sources}
    for position, term in sections.terms:
        names = [f"loss/{term.label}", *(f"loss/{term.label}/{source}" for source in sources)]
        for name in names if term.label is not None else ():
            if name in of_sources:
                yield position, f"'{name}' would also be the loss of a source; give the term another label"
                return
