"""What of a view is scored: responses of several turns, and prompts with their responses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import adapter
from support.pairs import PROMPT
from torch import Tensor
from transformers import AutoModelForImageTextToText

from mdpo_core import Batch, DataError, Example, Placement, Scores, Turn, View, component, load_recipe, run
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.responses import encode_response
from mdpo_core.data.validity import problems_of_row
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer

NATS = 5e-5
TWO_TURNS = (Turn("assistant", "Red, I think."), Turn("user", "Are you sure?"), Turn("assistant", "Yes."))
WAYS = pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])


def picture() -> PIL.Image.Image:
    return PIL.Image.linear_gradient("L").convert("RGB").resize((60, 40))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("qwen2_vl", tmp_path_factory.mktemp("qwen2_vl"))


def scores_of(made: Any, views: tuple[View, ...], data: list[Example], options: Scoring) -> tuple[Scores, Batch]:
    batch = BatchBuilder(made.encoder(), views, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    scorer = Scorer(made.load(Placement()), TermInputs(tuple(views)), options=options)
    with torch.no_grad():
        return Scores.of_batch(scorer(batch), batch), batch


@WAYS
def test_assistant_turns_score_as_plain_transformers(options: Scoring, qwen: Path) -> None:
    """Of a conversation, the assistant's turns alone are scored, as by plain transformers."""
    one = Example("1", "<image>\nWhich colour?", {"chosen": TWO_TURNS, "rejected": "Blue."}, (picture(),))
    made = adapter("qwen2_vl", qwen)
    views = (View("chosen"), View("rejected"))
    scores, batch = scores_of(
        made, views, [one, replace(one, id="2", responses={**one.responses, "chosen": "Green."})], options
    )
    tokenizer = made.encoder().processor.tokenizer
    texts = [
        ("Red, I think.<|im_end|>", 1),
        ("\n<|im_start|>user\nAre you sure?<|im_end|>\n<|im_start|>assistant\n", 0),
        ("Yes.<|im_end|>", 2),
    ]
    parts = [(tokenizer(text, add_special_tokens=False)["input_ids"], turn) for text, turn in texts]
    ids, turns = (
        torch.tensor(each) for each in zip(*((token, turn) for part, turn in parts for token in part), strict=True)
    )
    assert scores.responses["chosen"].ids[0].equal(ids)
    assert scores.responses["chosen"].turns[0].equal(turns)
    assert scores.responses["chosen"].turns[1].max() == 1
    expected = plain(qwen, batch, ids)
    tokens = scores.policy_tokens["chosen"]
    assert tokens.mask[0].equal(turns > 0)
    torch.testing.assert_close(tokens.values[0], expected.where(turns > 0, 0), atol=NATS, rtol=NATS)
    assert scores.num_tokens["chosen"][0] == int((turns > 0).sum())


def plain(folder: Path, batch: Batch, answer: Tensor) -> Tensor:
    """Log-probs of the first row's answer by one forward, ``(time,)``."""
    prompt = batch.rows[0].prompts["clean"].token_ids
    ids = torch.cat([prompt, answer])[None]
    model = AutoModelForImageTextToText.from_pretrained(folder)
    kinds = (ids == model.config.image_token_id).int()
    inputs = {**batch.images[0], "mm_token_type_ids": kinds} if "image_grid_thw" in batch.images[0] else batch.images[0]
    with torch.no_grad():
        logits = model(input_ids=ids, **inputs).logits[0, len(prompt) - 1 : -1]
    found: Tensor = logits.log_softmax(-1).gather(1, answer[:, None])[:, 0]
    return found


@WAYS
def test_view_with_prompt_is_scored_from_first_word_after_image(options: Scoring, llava: Path) -> None:
    text_only = "USER: Which colour? ASSISTANT:"
    data = [
        Example("1", PROMPT, {"chosen": "A temple.", "rejected": "A dog."}, (picture(),)),
        Example("2", text_only, {"chosen": "Red.", "rejected": "Blue."}),
    ]
    made: Any = component("adapter", "llava", path=str(llava))
    views = (View.parse("prompt+chosen"), View("chosen"))
    scores, batch = scores_of(made, views, data, options)
    model = AutoModelForImageTextToText.from_pretrained(llava)
    items = batch.items[View("chosen")]
    for row, start in enumerate((int((items[0].prompt == model.config.image_token_id).nonzero()[-1]) + 1, 1)):
        prompt, answer = items[row].prompt, items[row].response
        ids = torch.cat([prompt, answer])
        with torch.no_grad():
            logits = model(input_ids=ids[None], **(batch.images[0] if row == 0 else {})).logits[0, start - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, ids[start:, None])[:, 0]
        found = scores.policy_tokens["prompt+chosen"]
        torch.testing.assert_close(found.values[row][found.mask[row]], expected, atol=NATS, rtol=NATS)
        response = scores.policy["chosen"][row]
        torch.testing.assert_close(expected[-len(answer) :].sum(), response, atol=NATS, rtol=NATS)


def test_prompt_and_response_dpo_is_dpo_for_equal_prompts(llava: Path) -> None:
    data = [Example("1", PROMPT, {"chosen": "A temple.", "rejected": "A dog."}, (picture(),))]
    made: Any = component("adapter", "llava", path=str(llava))
    plain, joint = component("loss", "dpo"), component("loss", "dpo", scored="prompt_and_response")
    assert [str(view) for view in joint.views()] == ["prompt+chosen", "prompt+rejected"]  # type: ignore[attr-defined]
    views = (*plain.views(), *joint.views())  # type: ignore[attr-defined]
    scores, _ = scores_of(made, views, data, Scoring())
    noise = {str(view): value + 0.1 * place for place, (view, value) in enumerate(scores.policy.items())}
    for name in ("chosen", "rejected"):
        noise[f"prompt+{name}"] = scores.policy[f"prompt+{name}"] + noise[name] - scores.policy[name]
    reference = {str(view): value for view, value in scores.policy.items()}
    moved = Scores.from_sums(noise, reference)
    torch.testing.assert_close(joint(moved), plain(moved))  # type: ignore[operator]


def test_prompt_and_response_pairs_compare_without_pictures(llava: Path, tmp_path: Path) -> None:
    """JPO: each response to a prompt of its own, and both of them scored."""
    rows = [
        {
            "prompt": "USER: Which colour? ASSISTANT:",
            "other": "USER: How many? ASSISTANT:",
            "chosen": "Red.",
            "rejected": "Two.",
        },
        {
            "prompt": "USER: Where? ASSISTANT:",
            "other": "USER: Who is it? ASSISTANT:",
            "chosen": "There.",
            "rejected": "Me.",
        },
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    (tmp_path / "recipe.yaml").write_text(
        f"model: {{adapter: llava, path: {llava}, lora: {{rank: 2, alpha: 4, dropout: 0.0}}}}\n"
        f"data: {{reader: pairs, path: {tmp_path / 'pairs.json'}, image: null, other_prompts: {{other: other}}}}\n"
        "corruptions: {other: {corruption: dataset_prompt, prompt: other}}\n"
        "objective: [{loss: dpo, scored: prompt_and_response, over: rejected@other}]\n"
        "train: {epochs: 2, batch_size: 2, micro_batch_size: 2, learning_rate: 0.01}\n"
        f"backend: {{backend: local, device: cpu}}\noutput: {{dir: {tmp_path / 'run'}}}\n"
    )
    folder = run(load_recipe(tmp_path / "recipe.yaml")).run_dir
    first, second = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert second["loss"] < first["loss"] - 1e-3
    model = AutoModelForImageTextToText.from_pretrained(llava)
    tokenizer = component("adapter", "llava", path=str(llava)).encoder().processor.tokenizer  # type: ignore[attr-defined]
    for name, view, prompt in (("chosen", "prompt+chosen", "prompt"), ("rejected", "prompt+rejected@other", "other")):
        total = 0.0
        for row in rows:
            answer = tokenizer(row[name], add_special_tokens=False)["input_ids"]
            ids = torch.tensor([tokenizer(row[prompt])["input_ids"] + answer + [tokenizer.eos_token_id]])
            with torch.no_grad():
                total += float(model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum())
        assert first[f"logps/{view}"] == pytest.approx(total / 2, abs=1e-3)


def conversations(folder: Path) -> Path:
    def said(first: str, second: str) -> list[dict[str, str]]:
        return [
            {"role": "assistant", "content": first},
            {"role": "user", "content": "Are you sure?"},
            {"role": "assistant", "content": second},
        ]

    rows = [
        {"prompt": "Which colour?", "chosen": said("Red.", f"Yes, {number}."), "rejected": said("Blue.", "No, sorry.")}
        for number in range(4)
    ]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def losses(qwen: Path, folder: Path, reference: str) -> list[float]:
    (folder / f"{reference}.yaml").write_text(
        f"model: {{adapter: chat_vlm, path: {qwen}, lora: {{rank: 2, alpha: 4, dropout: 0.0}}}}\n"
        f"data: {{reader: pairs, path: {conversations(folder)}, image: null}}\n"
        "objective: [{loss: dmpo}, {loss: ddpo}]\n"
        "train: {epochs: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 0.01}\n"
        f"reference: {reference}\n"
        "backend: {backend: local, device: cpu}\n"
        f"output: {{dir: {folder / reference}}}\n"
    )
    done = run(load_recipe(folder / f"{reference}.yaml")).run_dir
    lines = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_conversation_run_begins_at_log_2_cached_or_not(qwen: Path, tmp_path: Path) -> None:
    """A run of conversations begins at log 2 for each term, and a cached reference changes nothing."""
    one, other = losses(qwen, tmp_path, "adapter_off"), losses(qwen, tmp_path, "cached")
    assert one == pytest.approx(other, abs=1e-5)
    assert one[0] == pytest.approx(2 * math.log(2), abs=1e-5)
    assert one[1] < one[0] - 1e-3


@pytest.mark.parametrize(
    ("turns", "wrong"),
    [
        (TWO_TURNS, None),
        (TWO_TURNS[:2], "its first and last turns must be the assistant's, and two"),
        (TWO_TURNS[1:], "its first and last turns must be the assistant's, and two"),
        ((TWO_TURNS[0], TWO_TURNS[2]), "assistant turns must not follow each other"),
        ((Turn("assistant", " "),), "is empty"),
        ((Turn("assistant", "<image>"),), "contains an <image> mark"),
    ],
)
def test_a_response_of_turns_is_checked(turns: tuple[Turn, ...], wrong: str | None) -> None:
    found = problems_of_row(Example("1", "What?", {"chosen": turns, "rejected": "No."}))
    assert bool(found) == (wrong is not None)
    assert wrong is None or wrong in found[0]


def test_template_that_rewrites_earlier_answers_is_named(qwen: Path) -> None:
    encoder = adapter("qwen2_vl", qwen).encoder()

    class Forgetful:
        image_token = encoder.image_token
        encode_response = encoder.encode_response

        def encode_prompt(self, example: Example) -> Any:
            last = example if isinstance(example.prompt, str) else replace(example, prompt=example.prompt[-1:])
            return encoder.encode_prompt(last)

    row = Example("1", "What?", {"chosen": TWO_TURNS})
    with pytest.raises(DataError, match="example '1': chosen: the chat template writes earlier"):
        encode_response(Forgetful(), row, "chosen")  # type: ignore[arg-type]


def test_conversations_need_a_chat_template(llava: Path) -> None:
    encoder = component("adapter", "llava", path=str(llava)).encoder()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"needs model\.prompts: chat"):
        encode_response(encoder, Example("1", "What?", {"chosen": TWO_TURNS}), "chosen")
