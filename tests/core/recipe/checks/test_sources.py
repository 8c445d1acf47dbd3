"""What metrics by source need of a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import RECIPES

from mdpo_core import RecipeError, load_recipe

BY_SOURCE = "train.metrics_by_source=true"
SOURCES = "data={reader: mixture, sources: {a: {reader: digits}, b: {reader: digits, times: 2}}}"


def refused(*changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", changes)
    return str(caught.value)


def test_metrics_by_source_need_a_reader_that_names_sources() -> None:
    assert (
        "train.metrics_by_source: the rows of the reader 'digits' name no source; use the reader 'mixture', or set "
        "train.metrics_by_source: false"
    ) in refused(BY_SOURCE)
    assert load_recipe(RECIPES / "quickstart.yaml", [SOURCES, BY_SOURCE]).train.metrics_by_source


def test_a_label_cannot_be_the_name_of_a_source() -> None:
    text = refused(SOURCES, BY_SOURCE, "objective.0.label=b")
    assert "objective.0.label: 'loss/b' would also be the loss of a source; give the term another label" in text
    load_recipe(RECIPES / "quickstart.yaml", [SOURCES, "objective.0.label=b"])


def test_sources_of_sources_have_names_of_both(tmp_path: Path) -> None:
    inner = "{reader: mixture, sources: {a: {reader: digits}, c: {reader: digits}}}"
    data = load_recipe(
        RECIPES / "quickstart.yaml", [f"data={{reader: mixture, sources: {{b: {{reader: digits}}, n: {inner}}}}}"]
    ).data
    assert data.names_of_sources() == ("b", "n/a", "n/c")
    rows = data.open()
    assert {rows[0].source, rows[4800].source, rows[9600].source} == {"b", "n/a", "n/c"}


PREFERENCE = "evaluators=[{evaluator: preference, by_source: true}]"
NONE_APART = "validation=null"


def test_an_evaluator_by_source_needs_held_out_rows_that_name_sources() -> None:
    sentence = (
        "evaluators.0: 'preference' measures by source, but the rows of the reader 'digits' name no source; use the "
        "reader 'mixture', or leave by_source out"
    )
    assert sentence in refused(PREFERENCE, NONE_APART, "data.hold_out={share: 0.1}")
    assert sentence in refused(PREFERENCE, SOURCES, "validation={reader: digits, seed: 3}")
    assert "name no source" not in refused(PREFERENCE, NONE_APART)  # there are no held-out rows at all
    load_recipe(RECIPES / "quickstart.yaml", [NONE_APART, SOURCES, "data.hold_out={share: 0.1}", PREFERENCE])


def test_a_label_cannot_be_the_name_of_a_source_for_an_evaluator() -> None:
    words = [NONE_APART, SOURCES, "data.hold_out={share: 0.1}", "objective.0.label=b", PREFERENCE]
    sentence = "objective.0.label: 'loss/b' would also be the loss of a source; give the term another label"
    assert refused(*words).count(sentence) == 1
    assert refused(*words, BY_SOURCE).count(sentence) == 1
