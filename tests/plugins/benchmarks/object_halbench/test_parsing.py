"""The words of a judge's objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdpo_benchmarks.coco.vocabulary import Vocabulary
from mdpo_benchmarks.object_halbench.parsing import Token, objects_named, spacy_parser, stored_parser

from mdpo_core import DataError, RecipeError

VOCABULARY = Vocabulary.of_object_halbench()
LEMMAS = st.sampled_from(["a", "dog", "teddy", "bear", "dining", "table", "red", "baby"])
TOKENS = st.lists(st.builds(Token, st.just(""), LEMMAS, st.sampled_from(["NN", "NNS", "NNP", "NNPS", "DT", "JJ"])))


@given(TOKENS)
def test_an_object_is_its_pairs_or_else_its_runs_of_nouns(tokens: list[Token]) -> None:
    found = objects_named(["thing"], lambda text: tokens, VOCABULARY)
    lemmas = " ".join(token.lemma for token in tokens)
    if any(pair in lemmas for pair in VOCABULARY.pairs):
        assert set(found) <= set(VOCABULARY.pairs.values())
    else:
        # The oracle cuts the text of the nouns at every other word.
        nouns = " ".join(token.lemma if token.tag.startswith("NN") else "|" for token in tokens)
        assert found == list(dict.fromkeys(run.strip() for run in nouns.split("|") if run.strip()))


def test_each_text_is_asked_for_with_an_article_and_each_word_kept_once() -> None:
    asked = []

    def parse(text: str) -> list[Token]:
        asked.append(text)
        return [Token("a", "a", "DT"), Token(text[2:], text[2:], "NN")]

    assert objects_named(["stove", "oven", "stove"], parse, VOCABULARY) == ["stove", "oven"]
    assert asked == ["a stove", "a oven", "a stove"]


@pytest.mark.parametrize("stored", ['{"a cat": [["a", "a"]]}', '{"a cat": "cat"}', '{"a cat": [["a", "a", 1]]}'])
def test_damaged_files_of_objects_are_refused(stored: str, tmp_path: Path) -> None:
    (tmp_path / "objects.json").write_text(stored)
    with pytest.raises(DataError, match=r"'a cat': must be a list of \[token, lemma, tag\]"):
        stored_parser(tmp_path / "objects.json")


def test_without_spacy_or_its_model_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="spaCy's model 'no_such_model' is not installed: python -m spacy download"):
        spacy_parser("no_such_model")
    monkeypatch.setattr("mdpo_benchmarks.object_halbench.parsing.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r'needs spacy, which is not installed: pip install "mdpo\[spacy\]"'):
        spacy_parser("another_model")


def test_spacy_gives_tokens_with_lemmas_and_tags(tmp_path: Path) -> None:
    import spacy

    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("attribute_ruler")
    rules.add(patterns=[[{"LOWER": "dogs"}]], attrs={"TAG": "NNS", "LEMMA": "dog"})  # type: ignore[attr-defined]
    pipeline.to_disk(tmp_path / "model")
    tokens = spacy_parser(str(tmp_path / "model"))("a dogs")
    assert tokens[1] == Token("dogs", "dog", "NNS")
