"""Our linear layer with an adapter against peft's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdpo_vlm.parts import lora_linear
from mdpo_vlm.parts.lora_linear import LoraLinear
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners import lora
from support.kept_bytes import kept_bytes
from torch import Tensor, nn


def build(ours: bool, bias: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> PeftModel:
    """Two linear layers with a tanh between, so that one of them has an input with gradients."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 10, bias=bias), nn.Tanh(), nn.Linear(10, 5, bias=bias)).to(dtype)
    config = LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout, target_modules=["0", "2"])
    if ours:
        config._register_custom_module({nn.Linear: LoraLinear})
    model = get_peft_model(base, config, autocast_adapter_dtype=dtype != torch.float64)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.normal_()
    return model


def measure(model: PeftModel, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """The output, and the gradients of a sum of it with respect to the adapters and the input."""
    x = x.detach().requires_grad_()
    torch.manual_seed(seed)
    output = model(x)
    (output * torch.arange(output.numel()).cos().view(output.shape).to(output.dtype)).sum().backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return {"output": output.detach(), "input": x.grad, **found}  # type: ignore[dict-item]  # it has one


def distances(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Relative to the largest number of each."""
    assert one.keys() == other.keys()
    # Dropout may leave nothing of a short input, and so gradients of 0.
    largest = {name: value.abs().max().clamp(min=1e-30) for name, value in other.items()}
    return {name: float((one[name] - value).double().abs().max() / largest[name]) for name, value in other.items()}


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(lambda sizes: (*sizes, 6))


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    bias=st.booleans(),
    dropout=st.sampled_from([0.0, 0.4]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
)
def test_it_equals_pefts_in_values_and_gradients(
    shape: tuple[int, ...], bias: bool, dropout: float, dtype: torch.dtype, seed: int
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    ours, pefts = (measure(build(each, bias, dropout, dtype), x, seed) for each in (True, False))
    for name, distance in distances(ours, pefts).items():
        assert distance <= (1e-5 if dtype == torch.float32 else 1e-12), name
        assert ours[name].dtype == pefts[name].dtype


def test_its_derivatives_with_dropout_are_right() -> None:
    model = build(True, dropout=0.4, dtype=torch.float64)
    weights = [value for value in model.parameters() if value.requires_grad]

    def output(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(3)
        found: Tensor = model(x)
        return found

    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, (x, *weights))


def test_dropout_keeps_a_bit_for_each_number_of_the_input() -> None:
    x = torch.randn(50, 6)
    without, with_dropout = (kept_bytes(build(True, dropout=dropout), x) for dropout in (0.0, 0.4))
    num_bits = x.numel() + 50 * 10  # the inputs of both layers
    assert 0 < with_dropout - without <= num_bits / 8 + 2


def test_adapters_of_one_input_keep_it_once() -> None:
    layers = [build(True, dropout=0.4).base_model.model[0] for _ in range(3)]
    x = torch.randn(48, 6, requires_grad=True)

    def shared(x: Tensor) -> list[Tensor]:
        x = x.tanh()
        return [layer(x) for layer in layers]

    output, inner, mask = 4 * 48 * 10, 4 * 48 * 3, 48 * 6 // 8
    assert kept_bytes(shared, x) == x.nbytes + 3 * (output + inner + mask)


@pytest.mark.parametrize("bias", [False, True])
def test_lora_beside_bfloat16_weights_is_as_exact_as_bfloat16(bias: bool) -> None:
    x = torch.randn(4, 7, 6)
    model = build(True, bias, dtype=torch.bfloat16)
    ours, truth = measure(model, x.bfloat16()), measure(copy.deepcopy(model).double(), x.bfloat16().double())
    assert ours["output"].dtype == torch.bfloat16
    assert ours["base_model.model.0.lora_A.default.weight"].dtype == torch.float32
    for name, distance in distances(ours, truth).items():
        assert distance <= 16 * torch.finfo(torch.bfloat16).eps, name


def test_peft_handles_adapter_that_is_off_merged_or_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any) -> None:
        raise AssertionError("not for these")

    x = torch.randn(3, 6)
    ours, pefts = build(True), build(False)
    for model in (ours, pefts):
        torch.manual_seed(1)
        model.add_adapter("other", LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False))
    monkeypatch.setattr(lora_linear._AddAdapter, "apply", forbidden)
    with pytest.raises(AssertionError, match="not for these"):
        ours(x)
    with ours.disable_adapter(), pefts.disable_adapter():
        assert ours(x).equal(pefts(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).equal(pefts(x))
    for model in (ours, pefts):
        model.base_model.set_adapter(["default", "other"])
    assert ours(x).equal(pefts(x))
    for model in (ours, pefts):
        model.base_model.set_adapter("default")
        model.merge_adapter()
    assert ours(x).equal(pefts(x))


def test_its_weights_have_pefts_names_and_nothing_of_it_is_saved(tmp_path: Any) -> None:
    ours, pefts = build(True), build(False)
    assert ours.state_dict().keys() == pefts.state_dict().keys()
    ours.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(pefts.unload()), tmp_path)
    assert type(loaded.base_model.model[0]) is lora.Linear
    x = torch.randn(3, 6)
    torch.testing.assert_close(loaded(x), ours(x), atol=1e-6, rtol=1e-5)
