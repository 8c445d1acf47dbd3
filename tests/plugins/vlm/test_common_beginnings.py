"""Answers that begin alike: computed once, with the numbers of one plain forward of transformers for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mdpo_vlm.families import FAMILIES
from support.builders.small_vlms import build_vlm, one_family_of_each_mechanism
from support.effort import num_examples
from support.oracles.plain_gradients import PlainModel, require_plain
from support.oracles.plain_vlms import VIEWS, adapter, examples
from torch import Tensor
from transformers import AutoModelForMultimodalLM

from mdpo_core import Example, Placement
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer

words = st.sampled_from(["A", "temple", "and", "trees", "flower", "Chinese"])
texts = st.lists(words, max_size=4)
# The rows of a batch: what both answers begin with, and how each goes on. They may be equal, or one may end first.
pairs = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=3)
EDITED = (["A", "Chinese", "temple", "and"], ["trees"], ["flower", "and"])
CUT, EQUAL, DIFFERENT = (["A", "temple"], [], ["and", "trees"]), (["A"], [], []), ([], ["trees"], ["A"])


@pytest.fixture(
    scope="module", params=[each for each in one_family_of_each_mechanism() if not FAMILIES[each.values[0]].separate]
)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(family, tmp_path_factory.mktemp(family))


def rows_of(family: str, photographs: Path, drawn: list[tuple[list[str], list[str], list[str]]]) -> list[Example]:
    """The first two rows have one prompt, so that four answers share it."""
    made = examples(family, photographs)
    return [
        Example(
            str(number),
            shown.prompt,
            {"chosen": " ".join(begin + chosen) or "A", "rejected": " ".join(begin + rejected) or "A"},
            shown.images,
        )
        for number, (begin, chosen, rejected) in enumerate(drawn)
        for shown in [made[max(0, number - 1)]]
    ]


def test_values_and_gradients_are_those_of_a_plain_forward_for_each(
    family: str, folder: Path, photographs: Path
) -> None:
    made = adapter(family, folder, freeze=())
    model, plain = made.load(Placement()), AutoModelForMultimodalLM.from_pretrained(folder).eval()

    @settings(max_examples=num_examples(1, 8), deadline=None)
    @given(pairs, st.sampled_from([None, 700]))
    @example([EDITED, EDITED, DIFFERENT], 700)
    @example([CUT, EQUAL, EDITED], None)
    def check(drawn: list[tuple[list[str], list[str], list[str]]], max_logits: int | None) -> None:
        data = rows_of(family, photographs, drawn)
        batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
        options = Scoring(max_logits=max_logits)
        scored = Scorer(model, TermInputs(tuple(VIEWS)), options=options)(batch).policy
        require_plain(scored, model.module, data, PlainModel(plain, family, folder))

    check()


def test_the_model_reads_what_answers_have_in_common_once(family: str, folder: Path, photographs: Path) -> None:
    made = adapter(family, folder)
    data = rows_of(family, photographs, [EDITED])
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, [0], epoch=0)
    model, seen = made.load(Placement()), list[int]()
    hook = model.layers()[0].register_forward_pre_hook(
        lambda _, inputs, options: seen.append(num_tokens(inputs, options)), with_kwargs=True
    )
    with torch.no_grad():
        Scorer(model, TermInputs(tuple(VIEWS)), options=Scoring())(batch)
    hook.remove()
    chosen, rejected = (batch.items[view][0] for view in VIEWS)
    prompt, lengths = len(chosen.prompt), (len(chosen.response), len(rejected.response))
    in_common = next(n for n in range(min(lengths)) if chosen.response[n] != rejected.response[n])
    assert in_common >= 4
    assert seen == [prompt + sum(lengths) - in_common]


def num_tokens(inputs: tuple[Tensor, ...], options: dict[str, Tensor]) -> int:
    """The number of tokens that a layer is called with."""
    hidden = inputs[0] if inputs else options["hidden_states"]
    return hidden.shape[0] * hidden.shape[1]
