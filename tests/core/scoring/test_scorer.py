"""The scorer against plain transformers, and the objective's gradients against the formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.scorers import examples, make
from support.effort import num_examples
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from mdpo_core import Example, Scores, View, component
from mdpo_core.data.encoding import BatchBuilder

WORDS = ["A", "pink", "flower", "temple", "with", "green", "leaves", "and", "no", "people"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
rows = st.lists(st.tuples(texts, texts, st.booleans()), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def dpo(llava: Path):  # type: ignore[no-untyped-def]
    return make(llava, {"dpo": component("loss", "dpo", beta=0.1)})


def plain_log_prob(model: torch.nn.Module, processor, example: Example, text: str) -> Tensor:  # type: ignore[no-untyped-def]
    """Log-prob of a response by one unpadded forward of plain transformers, written out."""
    inputs = processor(images=list(example.images) or None, text=example.prompt, return_tensors="pt")
    answer = processor.tokenizer(text, add_special_tokens=False)["input_ids"] + [processor.tokenizer.eos_token_id]
    ids = torch.cat([inputs["input_ids"], torch.tensor([answer])], dim=1)
    pixels = {"pixel_values": inputs["pixel_values"]} if example.images else {}
    log_probs = model(input_ids=ids, **pixels).logits[0].log_softmax(-1)
    start = inputs["input_ids"].shape[1]
    return sum(log_probs[start + place - 1, token] for place, token in enumerate(answer))  # type: ignore[return-value]


@settings(max_examples=num_examples(5, 15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=rows)
def test_log_probs_are_those_of_plain_transformers_row_by_row(drawn, dpo, llava: Path, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    builder, _, scorer, model = dpo
    data = examples(drawn, photographs)
    scored = scorer(builder.build(data, range(len(data)), epoch=0))
    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    base = AutoModelForImageTextToText.from_pretrained(llava)
    for row, example in enumerate(data):
        for view in (View("chosen"), View("rejected")):
            text = example.responses[view.response]
            with torch.no_grad():
                policy = plain_log_prob(model.module, processor, example, text)
                reference = plain_log_prob(base, processor, example, text)
            assert scored.policy[view].values[row].sum().item() == pytest.approx(policy.item(), abs=2e-4)
            assert scored.reference[view].values[row].sum().item() == pytest.approx(reference.item(), abs=2e-4)


@settings(max_examples=num_examples(5, 15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=rows, order=st.randoms())
def test_batch_size_padding_and_order_change_no_log_prob(drawn, order, dpo, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    builder, _, scorer, _ = dpo
    data = examples(drawn, photographs)
    shuffled = order.sample(range(len(data)), len(data))
    with torch.no_grad():
        together = scorer(builder.build(data, shuffled, epoch=0)).policy[View("chosen")]
        for place, row in enumerate(shuffled):
            alone = scorer(builder.build(data, [row], epoch=0)).policy[View("chosen")]
            values = together.values[place][together.mask[place]]
            torch.testing.assert_close(values, alone.values[0], atol=2e-5, rtol=0)


def test_dpo_loss_and_lora_gradients_equal_the_formula(dpo, llava: Path, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    builder, objective, scorer, model = dpo
    data = examples([("A pink flower", "no people", True), ("A temple", "green leaves and people", True)], photographs)
    trained = {name: value for name, value in model.module.named_parameters() if value.requires_grad}
    batch = builder.build(data, [0, 1], epoch=0)
    loss = objective(Scores.of_batch(scorer(batch), batch)).loss.mean()
    ours = torch.autograd.grad(loss, list(trained.values()))

    processor = AutoProcessor.from_pretrained(llava, backend="pil")
    base = AutoModelForImageTextToText.from_pretrained(llava)
    losses = []
    for example in data:
        ratios = {}
        for name, text in example.responses.items():
            with torch.no_grad():
                reference = plain_log_prob(base, processor, example, text)
            ratios[name] = plain_log_prob(model.module, processor, example, text) - reference
        losses.append(-torch.log(1 / (1 + torch.exp(-0.1 * (ratios["chosen"] - ratios["rejected"])))))
    expected_loss = torch.stack(losses).mean()
    expected = torch.autograd.grad(expected_loss, list(trained.values()))
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    scale = max(value.abs().max() for value in expected)
    assert scale > 1e-4
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("lora", [True, False])
def test_reference_has_no_gradient_and_equals_untrained_model(lora: bool, llava: Path, photographs: Path) -> None:
    builder, _, scorer, model = make(llava, {"dpo": component("loss", "dpo")}, lora)
    data = examples([("A pink flower", "no people", True)], photographs)
    before = scorer(builder.build(data, [0], epoch=0))
    with torch.no_grad():
        for parameter in model.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    after = scorer(builder.build(data, [0], epoch=0))
    view = View("chosen")
    assert not after.reference[view].values.requires_grad
    assert after.policy[view].values.requires_grad
    assert torch.equal(before.reference[view].values, after.reference[view].values)
    assert not torch.equal(before.policy[view].values, after.policy[view].values)


def test_crop_is_same_in_every_epoch_unless_drawn_anew(dpo, photographs: Path) -> None:  # type: ignore[no-untyped-def]
    data = examples([("A pink flower", "no people", True)], photographs)
    terms = {"copo": component("loss", "dpo", over="chosen@crop")}

    def pixels(draw: str, epoch: int, seed: int = 0) -> Tensor:
        crop = component("corruption", "random_crop", draw=draw)
        builder = BatchBuilder.for_terms(terms.values(), {"crop": crop}, dpo[0].encoder, 2048, seed)
        return builder.build(data, [0], epoch).images[1]["pixel_values"]

    assert torch.equal(pixels("once", 0), pixels("once", 1))
    assert not torch.equal(pixels("epoch", 0), pixels("epoch", 1))
    assert not torch.equal(pixels("once", 0), pixels("once", 0, seed=1))


def test_row_without_image_adds_nothing_to_a_conditional_term(llava: Path, photographs: Path) -> None:
    terms = {"dpo": component("loss", "dpo"), "copo": component("loss", "dpo", over="chosen@crop")}
    builder, objective, scorer, _ = make(llava, terms)
    data = examples([("A pink flower", "no people", True), ("A temple", "green leaves", False)], photographs)
    batch = builder.build(data, [0, 1], epoch=0)
    outcome = objective(Scores.of_batch(scorer(batch), batch))
    assert batch.corruptible.tolist() == [True, False]
    assert len(outcome.metrics["loss/copo"]) == 1
    assert outcome.loss[1] == outcome.metrics["loss/dpo"][1]
