"""Checkpoints as their authors publish them, against the numbers that the authors' own code produces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.effort import nightly_but
from support.oracles.upstream import IMAGE, PATHS, ROWS, Upstream, all_cases
from support.paths import RECIPES
from torch import Tensor

from mdpo_core import Decoding, Turn, load_recipe, run
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types.layout import pad_view
from mdpo_core.types.view import View

# Of float32, as data/upstream/FIXTURES.md suggests them.
PIXELS, FEATURES, LOGITS, TOKENS, SUMS = 1e-6, 5e-5, 5e-5, 2e-5, 1e-4
CASES = ["bunny", "bunny, tower apart", "llava", "llava, without sentencepiece"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Upstream]:
    return all_cases(tmp_path_factory.mktemp("upstream"))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, cases: dict[str, Upstream]) -> Upstream:
    return cases[request.param]


def require_close(found: Tensor, expected: Tensor, limit: float) -> None:
    torch.testing.assert_close(found, expected, atol=limit, rtol=0)


def test_pixels_and_features_are_upstream_s(case: Upstream) -> None:
    prompts = [case.encoder.encode_prompt(case.example(row)) for row in ROWS]
    pixels = torch.cat([prompt.images[0]["pixel_values"] for prompt in prompts])
    require_close(pixels, case.expected["pixel_values"], PIXELS)
    inside, config = case.model.module.model, case.model.module.config
    with torch.no_grad():
        seen = inside.vision_tower(pixels, output_hidden_states=True).hidden_states[config.vision_feature_layer]
        projected = [each.features for each in case.model.encode_images([prompt.images[0] for prompt in prompts])]
    if config.vision_feature_select_strategy == "default":
        seen = seen[:, 1:]
    require_close(seen, case.expected["vision_features"], FEATURES)
    require_close(torch.stack(projected), case.expected["projected_features"], FEATURES)


@pytest.mark.parametrize("name", ["chosen", "rejected"])
@pytest.mark.parametrize("row", [*ROWS, "multi"])
def test_token_ids_are_upstream_s(case: Upstream, row: str, name: str) -> None:
    ids = case.expected[f"{name}_{row}_input_ids"]
    if case.adapter == "bunny":
        # mDPO's collator masks the end tokens of a prompt, and splicing then removes them.
        ids = ids[case.expected[f"{name}_{row}_attention_mask"].bool()]
    prompt = case.encoder.encode_prompt(case.example(row))
    response = case.encoder.encode_response(case.item(row)[name])
    assert case.collapsed(prompt) + response.tolist() == ids.tolist()
    counted = case.expected[f"{name}_{row}_labels"]
    if row != "multi":  # where LLaVA counts the first answer, too
        assert counted[counted != -100].tolist() == response.tolist()
    if case.adapter == "llava" and row != "multi":
        assert case.collapsed(prompt) == case.expected[f"prompt_{row}_input_ids"].tolist()


@pytest.mark.parametrize("row", ROWS)
def test_logits_are_upstream_s(case: Upstream, row: str) -> None:
    prompt = case.encoder.encode_prompt(case.example(row))
    rows = pad_view([prompt.token_ids], [case.encoder.encode_response(case.item(row)["chosen"])])
    with torch.no_grad():
        logits = case.model.logits(case.model.hidden_states(rows, case.model.encode_images(prompt.images)))
    require_close(logits[0], case.expected[f"chosen_{row}_logits"], LOGITS)


def _require_log_probs(case: Upstream, name: str, row: str, tokens: Tensor) -> None:
    expected = case.expected[f"{name}_{row}_token_logps"]
    # Of a conversation, LLaVA counts the first answer, too.
    require_close(tokens, expected[-len(tokens) :], TOKENS)
    assert row == "multi" or len(tokens) == len(expected)
    if len(tokens) == len(expected):
        require_close(tokens.sum(), case.expected[f"{name}_{row}_logps"], SUMS)


@pytest.mark.parametrize("scoring", PATHS, ids=lambda each: f"{each.share_prefix}-{each.max_logits}")
@pytest.mark.parametrize("rows", [["0"], ["1"], ["2"], ["multi"], [*ROWS, "multi"]], ids="".join)
def test_log_probs_are_upstream_s_on_every_path(case: Upstream, rows: Sequence[str], scoring: Scoring) -> None:
    found = case.token_log_probs(case.batch(rows), scoring)
    for name, each in found.items():
        for row, tokens in zip(rows, each, strict=True):
            _require_log_probs(case, name, row, tokens)


@pytest.mark.parametrize("scoring", PATHS, ids=lambda each: f"{each.share_prefix}-{each.max_logits}")
def test_sums_of_a_batch_are_upstream_s(case: Upstream, scoring: Scoring) -> None:
    found = case.token_log_probs(case.batch(ROWS), scoring)
    sums = torch.stack([tokens.sum() for name in ("chosen", "rejected") for tokens in found[name]])
    require_close(sums, case.expected["batch_logps"], SUMS)


def conversation(case: Upstream, row: str) -> tuple[Any, ...]:
    item = case.item(row)
    if row != "multi":
        return (Turn("user", f"<image>\n{item['question']}"),)
    [[first, answer], [second, _]] = item["turns"]
    return Turn("user", f"<image>\n{first}"), Turn("assistant", answer), Turn("user", second)


@pytest.mark.parametrize("row", [*ROWS, "multi"])
def test_conversations_use_the_instruction_tuning_template(case: Upstream, row: str) -> None:
    prompt = case.chat.encode_prompt(case.example(row, conversation(case, row)))
    response = case.chat.encode_response(case.item(row)["chosen"])
    kind = "sft" if case.adapter == "bunny" else "chosen"
    assert case.collapsed(prompt) + response.tolist() == case.expected[f"{kind}_{row}_input_ids"].tolist()
    rows = pad_view([prompt.token_ids], [response])
    with torch.no_grad():
        logits = case.model.logits(case.model.hidden_states(rows, case.model.encode_images(prompt.images)))[0]
    log_probs = logits.log_softmax(-1)[len(prompt.token_ids) - 1 : -1].gather(1, response[:, None])[:, 0]
    require_close(log_probs, case.expected[f"{kind}_{row}_token_logps"][-len(response) :], TOKENS)


@pytest.mark.parametrize("name", ["chosen", "rejected"])
def test_conversation_answers_count_where_upstream_counts_them(cases: dict[str, Upstream], name: str) -> None:
    """LLaVA's sums of ``multi`` are those of both answers: here, of a response that is a conversation."""
    case = cases["llava"]
    first, *others = conversation(case, "multi")
    response = (*others, Turn("assistant", case.item("multi")[name]))
    turned = replace(case.example("multi", (first,)), responses={name: response})
    view = View(name)
    batch = BatchBuilder(case.chat, (view,), {}, (), 10**6, 0).build([turned], range(1), epoch=0)
    with torch.no_grad():
        tokens = Scorer(case.model, TermInputs((view,)))(batch).policy[view]
    require_close(tokens.values[tokens.mask], case.expected[f"{name}_multi_token_logps"], TOKENS)
    require_close(tokens.values.sum(), case.expected[f"{name}_multi_logps"], SUMS)


def test_greedy_answers_are_upstream_s(case: Upstream) -> None:
    prompts = [case.encoder.encode_prompt(case.example(row)) for row in ROWS]
    end = case.inputs["eos_token_id"]
    for made, row in zip(case.model.generate(prompts, Decoding(12)), ROWS, strict=True):
        expected = case.expected[f"greedy_{row}"].tolist()
        assert made.tolist() == (expected[: expected.index(end)] if end in expected else expected)


OTHER_FILES = "the same models from other files, whose numbers are compared above"


@pytest.mark.parametrize("case", ["bunny", "llava", *nightly_but([], CASES[1::2], OTHER_FILES)], indirect=True)
@pytest.mark.parametrize("lora", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_first_step_of_a_run_reports_upstream_s_sums(case: Upstream, lora: bool, tmp_path: Path) -> None:
    items = [case.item(row) for row in ROWS]
    pairs = [
        {"img_path": item["image"], **{name: item[name] for name in ("prompt", "chosen", "rejected")}} for item in items
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    changes = [
        f"model.path={case.checkpoint}",
        *(["model.lora.rank=4"] if lora else ["model.lora=null"]),
        f"data.path={tmp_path / 'pairs.json'}",
        f"data.images={case.numbers}",
        "train.epochs=1",
        "train.batch_size=3",
        "train.micro_batch_size=1",
        "train.workers=0",
        "backend.precision=fp32",
        "data.hold_out=null",  # of three rows
        "evaluators=[]",
        "trackers=[]",
        "reference=frozen_copy",
        f"output.dir={tmp_path / 'run'}",
    ]
    done = run(load_recipe(RECIPES / f"{case.adapter}_mdpo.yaml", changes))
    first = json.loads((done.run_dir / "metrics.jsonl").read_text().splitlines()[0])
    sums = case.expected["batch_logps"]
    assert first["logps/chosen"] == pytest.approx(float(sums[:3].mean()), abs=1e-4)
    assert first["logps/rejected"] == pytest.approx(float(sums[3:].mean()), abs=1e-4)


def test_an_image_is_one_mark_among_upstream_s_token_ids(case: Upstream) -> None:
    for row in ROWS:
        assert case.expected[f"chosen_{row}_input_ids"].tolist().count(IMAGE) == 1
