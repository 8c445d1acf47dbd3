"""What of an answer a model goes on from."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.builders.small_llava import build_tokenizer

from mdpo_core.make_data.kept_beginnings import Beginning, assembled, beginnings_of
from mdpo_core.words.sentences import sentences

WORDS = st.sampled_from(
    ["A", "red", "cat,", "sits.", "No", "dogs!", "Yes", "3.5", "1.", "\n", "(why?)", "猫", "です。"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=20).map(" ".join)
SEEDS = st.integers(0, 1000)
TOKENIZER = build_tokenizer()  # its words begin with their space


@given(TEXTS, st.floats(0.05, 0.95), SEEDS)
def test_a_share_of_the_words_is_kept_as_it_stands(text: str, share: float, seed: int) -> None:
    [piece] = beginnings_of(text, share, random.Random(seed))
    assert text.startswith(piece.kept)
    [all_words] = beginnings_of(text, 0.999999, random.Random(seed))
    assert len(piece.kept) <= len(all_words.kept) < len(text)


def test_half_of_the_words_are_half_with_and_without_spaces() -> None:
    assert beginnings_of("a red cat sits here", 0.5, random.Random(0))[0].kept == "a red"
    assert beginnings_of("赤い猫がいる", 0.5, random.Random(0))[0].kept == "赤い猫"


@given(TEXTS, SEEDS)
def test_cut_sentences_follow_true_ones_and_restore_the_text(text: str, seed: int) -> None:
    """Each sentence is cut behind the true ones, and what was cut off restores the text."""
    pieces = beginnings_of(text, "sentences", random.Random(seed))
    true = [sentence for sentence in sentences(text) if sentence.strip()]
    assert len(pieces) == len(true)
    tails, spaced, turned = [], [], False
    for piece, sentence in zip(pieces, true, strict=True):
        assert text.startswith(piece.before + sentence)
        assert piece.one_sentence
        if sentence.startswith(piece.kept):
            tail = sentence[len(piece.kept) :].rstrip()
            assert tail.strip()  # at least a word is written anew
            tails.append(tail)
            # Behind a beginning without its last space a model writes the space itself.
            spaced.append((piece.before + sentence)[len(piece.beginning) :].rstrip())
        else:
            turned = True
            assert piece.kept.split()[-1] in ("Yes", "No")
    if not turned:
        assert assembled(pieces, tails).strip() == assembled(pieces, spaced).strip() == text.strip()


def test_sentence_without_continuation_leaves_no_space_behind() -> None:
    pieces = [
        Beginning("", "A", " ", True),
        Beginning("A cat. ", "", " ", True),
        Beginning("A cat. Yes. ", "No", "", True),
    ]
    assert assembled(pieces, [" dog.", "", " birds."]) == "A dog. No birds."


@given(st.lists(st.sampled_from(["A", "red", "cat,", "sits.", "No", "dogs!", "1."]), min_size=1).map(" ".join), SEEDS)
def test_model_is_given_the_answers_own_tokens_up_to_a_cut(text: str, seed: int) -> None:
    def tokens(text: str) -> list[int]:
        return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])

    for piece in beginnings_of(text, "sentences", random.Random(seed)):
        if text.startswith(piece.before + piece.kept):
            ids = tokens(piece.beginning)
            assert tokens(text)[: len(ids)] == ids


def test_cut_yes_or_no_is_flipped_half_the_time_in_its_spelling() -> None:
    """A yes or no that is cut off becomes the other word, in the same case, half of the time."""
    for word, other in (("No", "Yes"), ("no", "yes"), ("YES", "NO")):
        found = Counter(beginnings_of(word, "sentences", random.Random(seed))[0].kept for seed in range(200))
        assert found.keys() == {"", other}
        assert 70 < found[other] < 130
    assert {beginnings_of("Nobody", "sentences", random.Random(seed))[0].kept for seed in range(20)} == {""}
