"""Liger's kernels: applied through its library to one model, and refused in a sentence where they cannot run."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mdpo_llava.adapter import Llava
from support.builders.scorers import examples
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama import modeling_llama

from mdpo_core import Batch, Lora, Placement, RecipeError, Scores, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import Scorer

CAN_RUN = find_spec("liger_kernel") is not None and torch.cuda.is_available()
PLAIN_NORM, PLAIN_ROPE = modeling_llama.LlamaRMSNorm, modeling_llama.apply_rotary_pos_emb


def llava_with(llava: Path, kernels: Any = "liger") -> Llava:
    return Llava(path=str(llava), lora=Lora(rank=2, dropout=0.0), kernels=kernels)


class _Stub:
    """The part of liger-kernel that is called. It changes what Liger changes: norms, classes and a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, changes: bool = True) -> None:
        self.options: dict[str, Any] = {}
        self._changes = changes
        for name in ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.monkey_patch"):
            module: Any = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llava": None}
            module._apply_liger_kernel_to_instance = self._apply
            monkeypatch.setitem(sys.modules, name, module)
        for name in ("LlamaRMSNorm", "apply_rotary_pos_emb"):
            monkeypatch.setattr(modeling_llama, name, vars(modeling_llama)[name])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def _apply(self, model: PreTrainedModel, **options: Any) -> None:
        self.options = options
        if not self._changes:
            return
        file: Any = modeling_llama
        file.LlamaRMSNorm = type("LigerRMSNorm", (nn.Module,), {})
        file.apply_rotary_pos_emb = lambda query, *inputs, **others: pytest.fail("not on a CPU")
        for module in model.get_decoder().modules():
            if isinstance(module, PLAIN_NORM):
                vars(module)["_get_name"] = lambda: "LigerRMSNorm"


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch) -> _Stub:
    return _Stub(monkeypatch)


@pytest.mark.skipif(find_spec("liger_kernel") is not None, reason="liger-kernel is installed")
def test_a_missing_library_is_refused_with_the_install_command(llava: Path) -> None:
    with pytest.raises(RecipeError, match=r'liger-kernel is not installed; pip install "mdpo\[liger\]"'):
        llava_with(llava).check()


def test_a_type_that_liger_does_not_know_is_refused_before_loading(
    llava: Path, liger: _Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    llava_with(llava).check()
    known: Any = sys.modules["liger_kernel.transformers.monkey_patch"]
    monkeypatch.setattr(known, "MODEL_TYPE_TO_APPLY_LIGER_FN", {"llama": None})
    with pytest.raises(RecipeError, match="Liger has no kernels for models of type 'llava'; leave kernels out"):
        llava_with(llava).check()


def test_a_language_model_that_liger_does_not_know_is_refused(llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Stub(monkeypatch, changes=False)
    with pytest.raises(RecipeError, match="no kernels for language models of type 'llama'"):
        llava_with(llava).load(Placement())


def test_a_machine_without_cuda_is_refused(llava: Path, liger: _Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="run on CUDA, and torch finds no CUDA device here; leave kernels out"):
        llava_with(llava).load(Placement())


def test_an_error_of_the_library_is_one_sentence(llava: Path, liger: _Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**options: Any) -> None:
        raise ImportError("cannot import name 'LigerOutput'")

    library: Any = sys.modules["liger_kernel.transformers"]
    monkeypatch.setattr(library, "_apply_liger_kernel_to_instance", fails)
    with pytest.raises(RecipeError, match=r"cannot change this model \(ImportError: cannot import name 'LigerOutput'"):
        llava_with(llava).load(Placement())


def test_the_loss_of_liger_stays_off(llava: Path, liger: _Stub) -> None:
    llava_with(llava).load(Placement())
    assert liger.options == {"cross_entropy": False, "fused_linear_cross_entropy": False}


def test_a_backend_that_computes_on_a_cpu_is_refused_at_its_first_forward(
    llava: Path, liger: _Stub, photographs: Path
) -> None:
    """Where weights are loaded does not say where they compute: fsdp loads on a CPU."""
    with pytest.raises(RecipeError, match="this backend computes on 'cpu'; choose another device, or leave kernels"):
        gradients(llava_with(llava), photographs, "cpu")


def test_other_models_of_the_process_stay_plain_on_a_cpu(llava: Path, liger: _Stub, photographs: Path) -> None:
    """A run exports on the CPU after it has trained."""
    before = gradients(llava_with(llava, None), photographs, "cpu")
    llava_with(llava).load(Placement())
    assert modeling_llama.LlamaRMSNorm is PLAIN_NORM
    assert modeling_llama.apply_rotary_pos_emb is not PLAIN_ROPE
    after = gradients(llava_with(llava, None), photographs, "cpu")
    assert all(values.equal(after[name]) for name, values in before.items())


def test_a_sketch_has_them_as_the_model_does_and_an_export_has_none(llava: Path, liger: _Stub) -> None:
    sketch = llava_with(llava).sketch("float32").module
    assert any(module._get_name() == "LigerRMSNorm" for module in sketch.modules())
    assert llava_with(llava).without_kernels == llava_with(llava, None)


def test_the_trimmed_last_layer_keeps_the_kernel_of_its_mlp(llava: Path, photographs: Path) -> None:
    """Kernels replace the method of an instance, which the trimmed layer must give back after each forward."""
    adapter = llava_with(llava, None)
    model, calls = adapter.load(Placement()), []
    mlp = model.layers()[-1].mlp

    def kernel(hidden_states: Tensor) -> Any:
        calls.append(len(hidden_states[0]))
        return type(mlp).forward(mlp, hidden_states)

    mlp.forward = kernel
    batch, objective = batch_and_objective(adapter, photographs)
    Scorer(model, objective.reads, AdapterOff(), Scoring())(batch)
    policy, reference = calls
    assert policy == reference < sum(len(item.prompt) for items in batch.items.values() for item in items)


def test_they_are_refused_beside_compiled_layers(llava: Path) -> None:
    assert llava_with(llava).refuses_compiling.startswith(
        "layers with Liger's kernels (model.kernels) are not compiled"
    )
    assert llava_with(llava, None).refuses_compiling == ""


@pytest.mark.gpu
@pytest.mark.skipif(not CAN_RUN, reason="needs a CUDA device and liger-kernel")
def test_gradients_are_those_of_torch_s_own_kernels(llava: Path, photographs: Path) -> None:
    plain, liger = (gradients(llava_with(llava, kernels), photographs, "cuda") for kernels in (None, "liger"))
    assert plain.keys() == liger.keys()
    for name, values in plain.items():
        # In Triton's interpreter, on a CPU, they were at most 5.5e-5 apart, and the losses 9e-8.
        torch.testing.assert_close(liger[name], values, atol=2e-4 * float(values.abs().max()), rtol=0)


def batch_and_objective(adapter: Llava, photographs: Path) -> tuple[Batch, Objective]:
    terms: Any = {"dpo": component("loss", "dpo"), "image": component("loss", "dpo", over="chosen@crop")}
    crop: Any = component("corruption", "random_crop")
    builder = BatchBuilder.for_terms(list(terms.values()), {"crop": crop}, adapter.encoder(), 2048, seed=0)
    return builder.build(examples([("A pink flower", "no people", True)], photographs), [0], epoch=0), Objective(terms)


def gradients(adapter: Llava, photographs: Path, device: str) -> dict[str, Tensor]:
    """The loss of two of mDPO's terms, and its gradients, with adapters that are not zero."""
    batch, objective = batch_and_objective(adapter, photographs)
    model = adapter.load(Placement(device))
    trained = {name: value for name, value in model.module.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in trained.values():
            value.copy_(torch.randn(value.shape, generator=generator) / 10)
    scorer = Scorer(model, objective.reads, AdapterOff(), Scoring())
    loss = objective(Scores.of_batch(scorer(batch), batch, objective.needs_tokens)).loss.sum()
    loss.backward()
    found = {name: value.grad for name, value in trained.items() if value.grad is not None}
    return {"loss": loss.detach(), **found}
