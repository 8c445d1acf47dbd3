"""LoRA over layers that dequantize, against peft's own layer for 4 bits; bitsandbytes itself needs a GPU."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import peft
import peft.import_utils
import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_vlm.parts import lora_linear
from mdpo_vlm.parts.four_bit_sketch import FourBitLinear
from mdpo_vlm.parts.lora_linear import InPlaceAdapter, over_quantized
from peft import LoraConfig
from support.kept_bytes import kept_bytes
from torch import Tensor, nn

from mdpo_core import Lora


class Dequantizing(nn.Linear):
    """A frozen layer as bitsandbytes' one in 4 bits: integers and scales, made whole for each product."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias)
        self.compute_dtype = torch.float32
        self.scales = self.weight.detach().abs().amax(1, keepdim=True) / 7
        self.weight = nn.Parameter((self.weight / self.scales).round().to(torch.int8), requires_grad=False)
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = _Product.apply(input, self.weight, self.scales, self.bias)  # type: ignore[no-untyped-call]
        return output


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight, ctx.scales = weight, scales
        whole = (weight * scales).to(inputs.dtype)
        # As a view of a product in two dimensions, which autograd lets nobody change in place.
        output = (inputs.flatten(0, -2) @ whole.T).view(*inputs.shape[:-1], len(whole))
        return output if bias is None else output.add_(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] @ (ctx.weight * ctx.scales).to(gradients[0].dtype), None, None, None


@pytest.fixture(scope="module")
def pefts() -> Any:
    """peft's own layer for 4 bits, from its file, with `Dequantizing` in the place of bitsandbytes' layer."""
    stub: Any = ModuleType("bitsandbytes")
    stub.nn = SimpleNamespace(Linear4bit=Dequantizing, Linear8bitLt=type("Linear8bitLt", (nn.Linear,), {}))
    file = Path(peft.__file__).parent / "tuners" / "lora" / "bnb.py"
    spec = importlib.util.spec_from_file_location("peft.tuners.lora.bnb_on_a_stub", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bitsandbytes", stub)
        for name in ("is_bnb_available", "is_bnb_4bit_available"):
            patch.setattr(peft.import_utils, name, lambda: True)
        spec.loader.exec_module(module)
    return module.Linear4bit


def layer(kind: Any, dropout: float = 0.0, bias: bool = True) -> Any:
    torch.manual_seed(0)
    made = kind(
        Dequantizing(6, 10, bias),
        "default",
        config=LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout),
        r=3,
        lora_alpha=5,
    )
    with torch.no_grad():
        for value in (made.lora_A.default.weight, made.lora_B.default.weight):
            value.normal_()
    return made


def measure(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    torch.manual_seed(1)
    output = module(x)
    (output * torch.arange(output.numel()).cos().view(output.shape).to(output.dtype)).sum().backward()
    found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    return {"output": output.detach(), "input": x.grad, **found}  # type: ignore[dict-item]  # it has one


@pytest.mark.parametrize("shape", [(7, 6), (2, 7, 6)])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [False, True])
def test_it_equals_pefts_in_values_and_gradients(
    shape: tuple[int, ...], dropout: float, bias: bool, pefts: Any
) -> None:
    x = torch.randn(shape)
    ours, theirs = (measure(layer(kind, dropout, bias), x) for kind in (over_quantized(pefts), pefts))
    assert ours.keys() == theirs.keys()
    assert len(ours) == 4
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_it_computes_in_the_type_of_its_input_and_keeps_no_float32_copy(pefts: Any) -> None:
    """peft's layer takes the input, and the adapter's products, to float32."""
    x = torch.randn(2, 64, 6, dtype=torch.bfloat16, requires_grad=True)
    ours, theirs = layer(over_quantized(pefts), 0.4), layer(pefts, 0.4)
    # Output, inner product and a bit for each number of the input; the input itself is there anyway.
    assert kept_bytes(ours, x) == 2 * (2 * 64 * (10 + 3)) + 2 * 64 * 6 // 8
    assert kept_bytes(ours, x) < 0.5 * kept_bytes(theirs, x)
    found, truth = measure(layer(over_quantized(pefts)), x), measure(layer(pefts), x.float())
    assert found["output"].dtype == torch.bfloat16
    assert found["lora_A.default.weight"].dtype == torch.float32
    for name, exact in truth.items():
        distance = (found[name].float() - exact).abs().max() / exact.abs().max()
        assert distance <= 16 * torch.finfo(torch.bfloat16).eps, name


def test_the_plain_product_is_used(pefts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_linear._AddAdapter, "apply", lambda *arguments: pytest.fail("used"))
    with pytest.raises(pytest.fail.Exception, match="used"):
        layer(over_quantized(pefts))(torch.randn(3, 6))


def test_a_sketch_in_4_bits_has_the_same_adapters(llava: Path) -> None:
    model = Llava(path=str(llava), lora=Lora(rank=2), quantize="nf4").sketch("bfloat16").module
    adapted = [module for module in model.modules() if isinstance(module, InPlaceAdapter)]
    assert len(adapted) == 14
    assert all(isinstance(module.base_layer, FourBitLinear) for module in adapted)
