"""Compiled layers: the same numbers, few graphs, and a sentence if torch cannot compile."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from mdpo_vlm.forward.model import VlmModel
from support.builders.tiny_batches import VIEWS, Drawn, build_batch
from support.builders.tiny_models import HIDDEN, IMAGE_TOKEN, Loaded, Tiny, build
from support.effort import nightly_but
from support.oracles.plain_attention import attend_as
from torch import Tensor, nn
from torch._dynamo.utils import counters

from mdpo_core import MdpoError, Packed, RecipeError
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring import compilation
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.attention import ATTENTIONS, sdpa_attention
from mdpo_core.scoring.compilation import ROW_MULTIPLE, CompiledRow, compile_layers, require_compiler
from mdpo_core.scoring.hidden_states import packed_states
from mdpo_core.scoring.probes import AllLayers
from mdpo_core.scoring.reference import FrozenCopy
from mdpo_core.scoring.scorer import PLAIN, Scorer, encode_images
from mdpo_core.testing.adapters.parity import Measured, measure, require_parity

ROWS = [
    Drawn((0,), [5, 6], [7, 8, 9], []),
    Drawn((), [4], [7], [5] * 7),
    Drawn((1, 2), [4], [7, 5], [5] * 4),
]
SIZES = (3, 1, 2, 30)
COMPILED = Scoring(compile=True)
LORA = Tiny("llama", "lora", layers=3)


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def compiled(kind: Tiny, backend: str, recomputed: Any = "off") -> Loaded:
    loaded = copy.deepcopy(build(kind))
    compile_layers(loaded.model.layers(), backend)
    if isinstance(loaded.reference, FrozenCopy):
        compile_layers(loaded.reference.model.layers(), backend)
    recompute_in_backward(loaded.model.layers(), recomputed)
    return loaded


def score(loaded: Loaded, kind: Tiny, num_rows: int, scoring: Scoring = COMPILED) -> Measured:
    torch.manual_seed(0)
    batch = build_batch((ROWS * num_rows)[:num_rows], VIEWS, kind)
    return measure(Scorer(loaded.model, TermInputs(VIEWS), loaded.reference, scoring), batch)


def require_same(kind: Tiny, backend: str, recomputed: Any = "off") -> None:
    loaded = compiled(kind, backend, recomputed)
    for num_rows in SIZES:
        require_parity(
            str(num_rows), score(loaded, kind, num_rows), score(build(kind), kind, num_rows, PLAIN), 2e-5, 1e-4
        )
    assert 0 < graphs() <= 3


@pytest.mark.parametrize(("kind", "recomputed"), [(LORA, "off"), (Tiny("grouped", "all", layers=3), "full")])
def test_rows_of_all_lengths_take_few_graphs_and_give_the_same_numbers(kind: Tiny, recomputed: Any) -> None:
    require_same(kind, "eager", recomputed)


# How each is recomputed in `long`; nightly in the other ways, too.
KINDS = {
    LORA: "full",
    Tiny("grouped", "all", layers=3): "off",
    Tiny("phi", "lora", layers=3, biased_head=True): 2,
    Tiny("llama", "lora_and_head", layers=3): "off",
    Tiny("phi", "language", layers=3): "full",
}
EVERY_WAY = [(kind, recomputed) for kind in KINDS for recomputed in ("off", "full", 2)]
OTHER_WAY = pytest.mark.nightly(reason="each kind, and each way to recompute, is in `long`")


@pytest.mark.parametrize(
    ("kind", "recomputed"),
    [
        pytest.param(
            kind,
            recomputed,
            marks=pytest.mark.long if recomputed == KINDS[kind] else OTHER_WAY,
            id=f"{kind.text}-{kind.trains}-{recomputed}",
        )
        for kind, recomputed in EVERY_WAY
    ],
)
def test_what_torch_compiles_gives_the_same_numbers(kind: Tiny, recomputed: Any) -> None:
    require_same(kind, "inductor", recomputed)


@pytest.mark.long
def test_recomputed_layers_drop_out_as_they_did() -> None:
    kind = replace(LORA, dropout=0.3)
    kept = score(compiled(kind, "inductor"), kind, 3)
    require_parity("dropout", score(compiled(kind, "inductor", "full"), kind, 3), kept, 1e-6, 1e-6)
    with pytest.raises(AssertionError, match="differ"):
        require_parity("dropout", score(build(LORA), LORA, 3), kept, 1e-3, 1e-3)


@pytest.mark.parametrize(
    "autocast",
    nightly_but([True], [False, True], "as with autocast: the same layers round", pytest.mark.long),
)
def test_in_bfloat16_it_is_about_as_near_to_float32_as_without(autocast: bool) -> None:
    kind = replace(LORA, dtype=torch.float32 if autocast else torch.bfloat16)
    exact = score(build(LORA), LORA, 3, PLAIN)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loaded, plain = compiled(kind, "inductor"), build(kind)
        ours, theirs = (distance(score(each, kind, 3), exact) for each in (loaded, plain))
    assert 0 < ours <= 1.5 * theirs
    assert graphs() <= 3


def distance(found: Measured, exact: Measured) -> float:
    pairs = zip(found.scored.policy.values(), exact.scored.policy.values(), strict=True)
    gaps = torch.cat([(one.values - other.values)[one.mask] for one, other in pairs])
    return float(gaps.detach().square().mean().sqrt())


def test_a_wrong_attention_is_used_and_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = score(build(LORA), LORA, 3, PLAIN)
    monkeypatch.setitem(ATTENTIONS, "auto", attend_as(lambda query, key: key.place <= query.place))
    with pytest.raises(AssertionError, match="nats"):
        require_parity("wrong", score(compiled(LORA, "eager"), LORA, 3), expected, 2e-5, 1e-4)


def test_a_row_attends_as_it_did_and_has_the_same_gradients() -> None:
    lengths = ((5, 2, 3), (4,), (3, 1))
    dropped = (torch.tensor([False, True, True, False, False]), None, torch.tensor([True, False, False]))
    ids = torch.zeros(1, 18, dtype=torch.long)
    row = Packed(ids, ids, lengths, sdpa_attention, dropped)
    torch.manual_seed(0)
    states = [torch.randn(1, heads, 18, 8, requires_grad=True) for heads in (4, 2, 2)]

    def attended(attend: Any) -> list[Tensor]:
        values = attend(*states, 0.3)
        return [values, *torch.autograd.grad(values.square().sum(), states)]

    for ours, theirs in zip(attended(CompiledRow.of(row, "sdpa").attend), attended(row.attend), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_row_as_long_as_a_layer_is_wide_takes_no_graph_of_its_own() -> None:
    model = compiled(LORA, "eager").model
    for length in (HIDDEN, 2 * HIDDEN, 8, 40, 61):
        ids, positions = torch.full((1, length), IMAGE_TOKEN + 1), torch.arange(length)[None]
        model.packed_hidden_states(Packed(ids, positions, ((length,),), ATTENTIONS["auto"]), ())
    assert graphs() == 1


def test_names_of_weights_stay_and_other_calls_are_not_compiled() -> None:
    loaded = compiled(LORA, "eager")
    assert loaded.model.module.state_dict().keys() == build(LORA).model.module.state_dict().keys()
    require_parity("plain", score(loaded, LORA, 2, PLAIN), score(build(LORA), LORA, 2, PLAIN), 0, 0)
    assert graphs() == 0


def test_probes_read_what_compiled_layers_give() -> None:
    batch = build_batch(ROWS, VIEWS, LORA)

    def outputs(model: VlmModel) -> Tensor:
        images = encode_images(model, batch)
        return packed_states(AllLayers(model), batch, VIEWS, images, ATTENTIONS["auto"]).hidden

    torch.testing.assert_close(outputs(compiled(LORA, "eager").model), outputs(build(LORA).model))
    assert graphs() == 1


class Layer(nn.Module):
    """A layer with a number, for which torch makes a graph of its own; below 0 it branches by what it computes."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, hidden: Tensor, packed: Packed) -> Tensor:
        return hidden + self.number if self.number >= 0 or hidden.sum() > 0 else hidden


def call(layers: list[Layer]) -> None:
    ids = torch.zeros(1, ROW_MULTIPLE, dtype=torch.long)
    row = Packed(ids, ids, ((ROW_MULTIPLE,),), sdpa_attention)
    for layer in layers:
        layer(torch.zeros(1, ROW_MULTIPLE, 4), packed=row)


def test_too_many_graphs_end_the_run_with_a_sentence() -> None:
    layers = [Layer(number) for number in range(5)]
    compile_layers(layers, "eager")
    call(layers[:3])
    with pytest.raises(MdpoError, match=r"more than 3 times \(.*\); set scoring.compile: false"):
        call(layers)


def test_a_layer_that_torch_cannot_compile_ends_the_run_with_a_sentence() -> None:
    layers = [Layer(-1), Layer(-1)]
    compile_layers(layers, "eager")
    with pytest.raises(MdpoError, match=r"layers cannot be compiled \(.*\); set scoring.compile: false"):
        call(layers)


def test_a_failing_compiler_is_named_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("Cannot find a working triton installation.\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(RecipeError) as caught:
        require_compiler("cuda:0")
    assert str(caught.value) == (
        "scoring.compile: torch cannot compile for 'cuda:0' here (Cannot find a working triton installation.); "
        "install Triton and a C compiler such as gcc, or set scoring.compile: false"
    )


@pytest.mark.parametrize(("device", "variable"), [("cpu", "CXX"), ("cuda:0", "CC")])
@pytest.mark.parametrize("value", ["", "no-such-compiler"])
def test_a_variable_that_names_a_compiler_is_named(
    device: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("Permission denied")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setenv(variable, value)
    named = f"the environment variable {variable} is '{value}'; unset it or name a compiler, or install "
    with pytest.raises(RecipeError, match=named):
        require_compiler(device)


def test_an_old_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(RecipeError, match=r"needs torch 2\.13 or newer, and this is 2\.9\.1"):
        require_compiler("cpu")


@pytest.mark.long
@pytest.mark.parametrize("environment", [{"PATH": ""}, {"CXX": "no-such-compiler"}, {"CXX": ""}])
def test_a_machine_without_a_compiler_is_told_what_to_install(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code = "from mdpo_core.scoring.compilation import require_compiler; require_compiler('cpu')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "scoring.compile: torch cannot compile for 'cpu' here (" in ended.stderr
    assert "install a C++ compiler such as g++, or set scoring.compile: false" in ended.stderr


@pytest.mark.long
def test_a_machine_with_a_compiler_passes() -> None:
    require_compiler("cpu")


def test_only_compiled_rows_are_padded() -> None:
    lengths = []

    def attention(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
        lengths.append(packed.token_ids.shape[1])
        return sdpa_attention(query, key, value, packed, scale)

    batch = build_batch(ROWS, VIEWS, LORA)
    for scoring in (Scoring(), COMPILED):
        Scorer(build(LORA).model, TermInputs(VIEWS), None, scoring, attention=attention)(batch)
    assert lengths[0] % compilation.ROW_MULTIPLE
    assert lengths[-1] == lengths[0] + -lengths[0] % compilation.ROW_MULTIPLE
