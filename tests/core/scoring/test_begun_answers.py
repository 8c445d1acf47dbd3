"""Answers whose beginning is read and not scored: `Example.begun`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from support.builders.small_llava import build_tokenizer
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoModelForImageTextToText

from mdpo_core import Begun, DataError, Example, Placement, Scores, Turn, View, load_recipe, run
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.responses import begun_prompt, decoded_answer, encode_response
from mdpo_core.data.validity import problems_of_row
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer

NATS = 2e-5
CONTEXT = "A pink flower in front of green leaves."
ROW = Example(
    "1",
    "<image>\nDescribe it.",
    {"chosen": "No people are there.", "rejected": "A dog sleeps."},
    (PIL.Image.linear_gradient("L").convert("RGB").resize((60, 40)),),
    begun=Begun(CONTEXT),
)
OTHER = replace(ROW, id="2", responses={"chosen": "Trees.", "rejected": "Two cats."}, begun=None)


class Texts:
    """An encoder of texts alone, by a fast tokenizer; ``end`` is the id of the token that ends a turn."""

    def __init__(self, tokenizer: Any, end: int) -> None:
        self.tokenizer, self.end = tokenizer, end

    def encode_response(self, response: str) -> Tensor:
        return torch.tensor([*self.tokenizer.encode(response, add_special_tokens=False).ids, self.end])


@cache
def merging() -> Any:
    """A tokenizer that merges over all borders, of words and of sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a. b a. ba ab. No. A a No a. Na.b", "aab baa. bab aba a.b b.a"] * 9, trainer)
    return tokenizer


@cache
def of_words() -> Any:
    return build_tokenizer().backend_tokenizer


LETTERS = st.text("ab .NoA\n", min_size=1, max_size=8)


@pytest.mark.parametrize("made", [merging, of_words])
@given(context=LETTERS, response=LETTERS, joint=st.sampled_from(["", " "]))
def test_answer_is_tokenized_whole_and_scored_from_its_first_own_token(
    made: Any, context: str, response: str, joint: str
) -> None:
    tokenizer = made()
    begun = Begun(context, joint)
    whole = begun.followed_by(response)
    encoder: Any = Texts(tokenizer, 0)
    row = Example("1", "?", {"chosen": response}, begun=begun)
    alone = tokenizer.encode(context, add_special_tokens=False).ids
    expected = tokenizer.encode(whole, add_special_tokens=False)
    assume(expected.ids != alone)
    ids, turns = encode_response(encoder, row, "chosen")
    assert turns is not None
    assert ids.tolist() == [*expected.ids, 0], "the tokens are those of the whole answer"
    unscored = int((turns == 0).sum())
    assert turns.tolist() == [0] * unscored + [1] * (len(ids) - unscored)
    # The tokenizer's own offsets: what is unscored lies within the beginning, and the next token does not begin there
    # as it does in the beginning alone.
    assert all(end <= len(context) for _, end in expected.offsets[:unscored])
    following = expected.offsets[unscored][0] if unscored < len(expected.ids) else len(whole)
    assert following >= len(context) or alone[unscored : unscored + 1] != expected.ids[unscored : unscored + 1]


@pytest.mark.parametrize("made", [merging, of_words])
@given(
    text=st.lists(
        st.sampled_from(["ha", "haha", "happy", " dog", " dogs.", "猫猫", "é", "e\u0301", "-", "\n"]), min_size=1
    )
    .map("".join)
    .filter(lambda text: len(text) > 1),
    cut=st.integers(0, 99),
)
def test_beginning_may_end_at_any_character(made: Any, text: str, cut: int) -> None:
    """Also inside of a word, and where the word repeats its beginning; the whole text keeps its tokens."""
    place = 1 + cut % (len(text) - 1)
    begun, response = Begun(text[:place], ""), text[place:]
    row = Example("1", "?", {"chosen": response, "rejected": f"{response}x"}, begun=begun)
    repeats = response.strip().startswith(begun.text.strip()) and not (begun.text + response[:1]).isalnum()
    assume(response.strip() and begun.text.strip() and not repeats)
    assert problems_of_row(row) == []
    tokenizer = made()
    expected = tokenizer.encode(text, add_special_tokens=False)
    encoder: Any = Texts(tokenizer, 0)
    ids, turns = encode_response(encoder, row, "chosen")
    assert turns is not None
    assert ids.tolist() == [*expected.ids, 0]
    ends = [end for _, end in expected.offsets]
    assert all(turns[number] or end <= place for number, end in enumerate(ends)), "what reaches into it is scored"


@given(context=st.sampled_from(["", "a.", "a. ", "a\n"]), response=st.sampled_from(["No.", " No.", "\nNo."]))
def test_joint_stands_only_where_neither_side_has_white_space(context: str, response: str) -> None:
    whole = Begun(context).followed_by(response)
    is_free = bool(context) and not context[-1:].isspace() and not response[:1].isspace()
    assert whole == context + " " * is_free + response
    assert Begun(context, "").followed_by(response) == context + response


def test_a_token_over_the_joint_is_scored() -> None:
    """`.b` is one token here: it stands in no beginning alone, so it is scored as a whole."""
    tokenizer = merging()
    assert tokenizer.encode("a.b", add_special_tokens=False).tokens == ["a", ".b"]
    ids, turns = encode_response(Texts(tokenizer, 0), Example("1", "?", {"y": "b"}, begun=Begun("a.", "")), "y")  # type: ignore[arg-type]
    assert turns is not None
    assert [tokenizer.decode([token]) for token in ids[turns > 0].tolist()] == [".b", ""]


def test_unfinished_answer_does_not_score_its_end() -> None:
    encoder: Any = Texts(of_words(), 2)
    row = Example("1", "?", {"y": "Green leaves."}, begun=Begun(CONTEXT, unfinished=True))
    ids, turns = encode_response(encoder, row, "y")
    assert turns is not None
    assert ids[-1] == 2
    assert turns[-1] == 0
    assert turns.sum() == len(of_words().encode(" Green leaves.", add_special_tokens=False).ids)
    first = encode_response(encoder, replace(row, begun=Begun("", unfinished=True)), "y")
    assert first.turns is not None
    assert first.turns.tolist() == [1] * (len(first.token_ids) - 1) + [0]


def test_conversation_goes_on_from_its_first_turn(qwen: Path) -> None:
    turns = (Turn("assistant", "No people."), Turn("user", "Sure?"), Turn("assistant", "Yes."))
    encoder = adapter("qwen2_vl", qwen).encoder()
    whole = (replace(turns[0], text=f"{CONTEXT} No people."), *turns[1:])
    row = replace(ROW, responses={"y": turns}, begun=Begun(CONTEXT, unfinished=True))
    found = encode_response(encoder, row, "y")
    expected = encode_response(encoder, replace(row, responses={"y": whole}, begun=None), "y")
    assert found.turns is not None
    assert expected.turns is not None
    assert found.token_ids.equal(expected.token_ids)
    number = len(encoder.processor.tokenizer(CONTEXT, add_special_tokens=False)["input_ids"])
    assert found.turns[:number].sum() == 0
    assert found.turns[number:-1].equal(expected.turns[number:-1])
    assert found.turns[-1] == 0


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("qwen2_vl", tmp_path_factory.mktemp("qwen2_vl"))


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])
def test_sentence_scores_as_in_the_whole_answer_by_plain_transformers(options: Scoring, qwen: Path) -> None:
    made = adapter("qwen2_vl", qwen)
    views = (View("chosen"), View("rejected"))
    batch = BatchBuilder(made.encoder(), views, {}, (), 10**9, 0).build([ROW, OTHER], range(2), epoch=0)
    scorer = Scorer(made.load(Placement()), TermInputs(views), options=options)
    scores = Scores.of_batch(scorer(batch), batch)
    scores.policy["chosen"].sum().backward()
    gradients = {name: each.grad for name, each in scorer.named_parameters() if each.grad is not None}
    model = AutoModelForImageTextToText.from_pretrained(qwen)
    tokenizer = made.encoder().processor.tokenizer
    total = torch.zeros(())
    for row, beginning in ((ROW, f"{CONTEXT} "), (OTHER, "")):
        answer = torch.tensor(tokenizer(f"{beginning}{row.responses['chosen']}<|im_end|>")["input_ids"])
        number = len(tokenizer(beginning.strip())["input_ids"]) if beginning else 0
        prompt = batch.rows[int(row.id) - 1].prompts["clean"].token_ids
        ids = torch.cat([prompt, answer])[None]
        kinds = (ids == model.config.image_token_id).int()
        logits = model(input_ids=ids, **batch.images[0], mm_token_type_ids=kinds).logits[0, len(prompt) - 1 : -1]
        scored = logits.log_softmax(-1).gather(1, answer[:, None])[number:, 0]
        tokens = scores.policy_tokens["chosen"]
        place = int(row.id) - 1
        torch.testing.assert_close(tokens.values[place][tokens.mask[place]], scored, atol=NATS, rtol=0)
        assert int(scores.num_tokens["chosen"][place]) == len(answer) - number
        total = total + scored.sum()
    total.backward()  # type: ignore[no-untyped-call]
    expected = {f"policy.{name}": each.grad for name, each in model.named_parameters()}
    assert "policy.lm_head.weight" in gradients
    for name, gradient in gradients.items():
        assert float((gradient - expected[name]).norm()) <= 1e-4 * float(expected[name].norm()), name


def losses(qwen: Path, photographs: Path, folder: Path, reference: str) -> list[float]:
    names = sorted(file.name for file in photographs.iterdir())
    rows = [
        {
            "image_path": names[number],
            "question": "What is it?",
            "context": [CONTEXT, "", None, "Trees. "][number],
            "y_win": f"No people, {number}.",
            "y_lose": "A dog sleeps.",
        }
        for number in range(4)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{reference}.yaml").write_text(
        f"model: {{adapter: chat_vlm, path: {qwen}, lora: {{rank: 2, alpha: 4, dropout: 0.0}}}}\n"
        f"data: {{reader: sentinel, path: {folder / 'rows.jsonl'}, images: {photographs}, hold_out: {{rows: 1}}}}\n"
        "objective: [{loss: dpo}]\n"
        "train: {epochs: 2, batch_size: 3, micro_batch_size: 3, learning_rate: 0.01}\n"
        f"reference: {reference}\nbackend: {{backend: local, device: cpu}}\n"
        "evaluators: [{evaluator: samples, max_new_tokens: 4}]\n"
        f"output: {{dir: {folder / reference}}}\n"
    )
    done = run(load_recipe(folder / f"{reference}.yaml")).run_dir
    lines = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert (done / "samples.jsonl").read_text()
    return [line["loss"] for line in lines if "loss" in line]


def test_sentences_train_from_log_2_cached_or_not(qwen: Path, photographs: Path, tmp_path: Path) -> None:
    one, other = (losses(qwen, photographs, tmp_path, reference) for reference in ("adapter_off", "cached"))
    assert one == pytest.approx(other, abs=1e-5)
    assert one[0] == pytest.approx(math.log(2), abs=1e-5)
    assert one[1] < one[0] - 1e-3


def test_sample_of_an_unfinished_answer_ends_with_its_first_sentence(
    qwen: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = adapter("qwen2_vl", qwen).encoder().processor.tokenizer
    written = tokenizer("A dog sleeps. Two cats. A boat.", return_tensors="pt")["input_ids"][0]
    monkeypatch.setattr("mdpo_vlm.forward.model.generate", lambda _, __, prompts, *___: [written] * len(prompts))
    losses(qwen, photographs, tmp_path, "adapter_off")
    lines = [json.loads(line) for line in (tmp_path / "adapter_off" / "samples.jsonl").read_text().splitlines()]
    assert {line["answer"] for line in lines} == {"A dog sleeps."}


@pytest.mark.parametrize("begun", [None, Begun(""), Begun("A boat.")])
def test_whole_answer_of_a_model_keeps_its_sentences(begun: Begun | None, qwen: Path) -> None:
    encoder = adapter("qwen2_vl", qwen).encoder()
    written = encoder.encode_response(" A dog. Two cats.")[:-1]
    assert decoded_answer(encoder, replace(ROW, begun=begun), written).strip() == "A dog. Two cats."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"begun": Begun("<image> A boat.")}, "the beginning of the answer contains an <image> mark"),
        ({"begun": Begun("A <video> boat.")}, "the beginning of the answer contains a <video> mark"),
        (
            {"begun": Begun("A boat.", "\n<image>\n")},
            "the joint behind the beginning of the answer contains an <image> mark",
        ),
        (
            {"begun": Begun("A tag: <ima", ""), "responses": {"chosen": "ge>.", "rejected": "No."}},
            "the beginning of the answer and the response 'chosen' make an <image> mark where they meet; only prompts",
        ),
        (
            {"begun": Begun("A tag: <", "vid"), "responses": {"chosen": "No.", "rejected": "eo>."}},
            "the response 'rejected' make a <video> mark where they meet",
        ),
        ({"begun": Begun("A tag: \\<ima", ""), "responses": {"chosen": "ge>.", "rejected": "No."}}, None),
        ({"begun": Begun("A \x00boat.")}, "the beginning of the answer contains '\\x00', a control character"),
        ({"begun": Begun("A dog sleeps.")}, "the response 'rejected' is the beginning of the answer once more"),
        ({"begun": "A boat."}, "begun is the str 'A boat.'; it must be a Begun or None"),
        ({"begun": Begun(3)}, "its text and its joint must be text"),  # type: ignore[arg-type]
        (
            {"begun": Begun("A boat."), "responses": {"chosen": "A boat. Red.", "rejected": "A boat. Blue."}},
            "every response starts with the beginning of the answer",
        ),
        ({"begun": Begun("  "), "responses": {"chosen": "  Red.", "rejected": "  Blue."}}, None),
        ({"begun": Begun("A"), "responses": {"chosen": "A boat.", "rejected": "boat."}}, None),
    ],
)
def test_wrong_beginnings_have_a_sentence(changes: dict[str, Any], said: str | None) -> None:
    found = problems_of_row(replace(ROW, **changes))
    assert any(said in each for each in found) if said else found == []


def test_special_token_across_the_joint_is_refused_as_in_a_response(qwen: Path) -> None:
    encoder = adapter("qwen2_vl", qwen).encoder()
    row = replace(ROW, begun=Begun("A tag: <|vision", ""), responses={"chosen": "_start|>.", "rejected": "No."})
    assert problems_of_row(row) == []
    with pytest.raises(DataError, match=r"chosen: the response contains .*<\|vision_start\|>"):
        encode_response(encoder, row, "chosen")


@pytest.mark.parametrize(
    ("begun", "response"),
    [
        (Begun("A boat.", ""), " It is red."),
        (Begun("A bo", ""), "at."),
        (Begun("A boat. ", ""), "Red."),
        (Begun("A boat."), "Red."),
        (Begun("A boat.", "\n"), "Red."),
        (Begun("A", "-"), "boat."),
    ],
)
def test_what_a_model_adds_is_the_response_that_has_these_tokens(begun: Begun, response: str, qwen: Path) -> None:
    encoder = adapter("qwen2_vl", qwen).encoder()
    row = replace(ROW, responses={"y": response}, begun=begun)
    before, read = (len(each.token_ids) for each in (encoder.encode_prompt(row), begun_prompt(encoder, row)))
    whole = encode_response(encoder, row, "y").token_ids
    assert decoded_answer(encoder, row, whole[read - before : -1]) == response


def test_special_token_in_a_beginning_is_said_of_the_beginning(qwen: Path) -> None:
    row = replace(ROW, begun=Begun("A boat.<|im_end|>"))
    with pytest.raises(DataError, match=r"the beginning of the answer.*'<\|im_end\|>'"):
        encode_response(adapter("qwen2_vl", qwen).encoder(), row, "chosen")


def test_response_that_adds_no_token_is_bad() -> None:
    class Deaf(Texts):
        def encode_response(self, response: str) -> Tensor:
            return super().encode_response(response.replace("\u0301", ""))

    row = Example("1", "?", {"y": "\u0301"}, begun=Begun("a", "", unfinished=True))
    with pytest.raises(DataError, match="adds no token to the beginning"):
        encode_response(Deaf(of_words(), 2), row, "y")  # type: ignore[arg-type]
