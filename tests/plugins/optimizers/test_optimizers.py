"""Each optimizer against a straight-line use of its library: steps, memory, and what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_local.engine import LocalEngine
from support.kept_bytes import LiveStorages
from torch import Tensor, nn
from transformers.optimization import Adafactor

from mdpo_core import (
    Engine,
    Optimizer,
    PluginError,
    RecipeError,
    SavedEngineState,
    Train,
    TrainableScorer,
    Updates,
    World,
    component,
)
from mdpo_core.interfaces.optimizer import hidden_matrices
from mdpo_core.memory.simulation import sizes_of
from mdpo_core.testing import check_optimizer
from mdpo_core.types.engine_state import write_state

RATE, DECAY, FACTOR = 0.01, 0.1, 0.5
EIGHT_BITS = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
# `bitsandbytes` says so of its CPU; its own import, too.
PAGED = pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
NAMES: list[Any] = [
    "adamw",
    "adafactor",
    "muon",
    pytest.param("adamw_8bit", marks=EIGHT_BITS),
    pytest.param("paged_adamw_8bit", marks=[EIGHT_BITS, PAGED]),
]


class Words(nn.Module):
    """A model of words: embeddings, a hidden layer with a bias, a norm, a head. The hidden layer has a factor."""

    def __init__(self, width: int = 64, words: int = 96, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(words, width)
            self.hidden = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, words, bias=False)

    @property
    def module(self) -> nn.Module:
        return self

    def layers(self) -> list[nn.Module]:
        return [self.hidden]

    def parts(self) -> dict[Any, tuple[str, ...]]:
        return {"vision": (), "projector": (), "language": tuple(name for name, _ in self.named_parameters())}

    def forward(self, batch: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(self.hidden(self.embedding(batch)).tanh()))
        return scores


def options(name: str, **more: Any) -> Train:
    changes: dict[str, Any] = {"weight_decay": DECAY, "adam_betas": (0.8, 0.9), "max_grad_norm": None, **more}
    return Train(optimizer=component("optimizer", name), learning_rate=RATE, **changes)  # type: ignore[arg-type]


def engine_of(model: Words, train: Train) -> LocalEngine:
    factors = {"hidden.weight": FACTOR, "hidden.bias": FACTOR}
    return LocalEngine(TrainableScorer(model, model, factors), train, "cpu", None, World())


def batches(steps: range) -> Iterator[Tensor]:
    for step in steps:
        yield torch.randint(96, (6, 5), generator=torch.Generator().manual_seed(step))


def loss_of(outputs: Any) -> Tensor:
    loss: Tensor = -outputs.log_softmax(-1)[..., 0].mean()
    return loss


def take(engine: Engine, steps: range) -> None:
    for step, batch in zip(steps, batches(steps), strict=True):
        engine.backward(loss_of(engine.forward(batch)))  # type: ignore[arg-type]
        engine.step(RATE / (step + 1))


# The groups, as a recipe's words say them: matrices decay, and what has a factor trains at its own rate.
GROUPS = {
    "embedding.weight": (DECAY, 1.0),
    "hidden.weight": (DECAY, FACTOR),
    "hidden.bias": (0.0, FACTOR),
    "norm.weight": (0.0, 1.0),
    "norm.bias": (0.0, 1.0),
    "head.weight": (DECAY, 1.0),
}


def by_library(name: str, model: Words) -> list[torch.optim.Optimizer]:
    """The library's optimizer with a group for each parameter, written down without mdpo."""
    groups = {
        key: {"params": [model.get_parameter(key)], "weight_decay": decay, "factor": factor, "lr": RATE}
        for key, (decay, factor) in GROUPS.items()
    }
    if name == "adamw":
        return [torch.optim.AdamW(groups.values(), betas=(0.8, 0.9))]
    if name == "adafactor":
        return [Adafactor([*groups.values()], scale_parameter=False, relative_step=False)]
    if name == "muon":
        hidden = [groups.pop("hidden.weight")]
        return [
            torch.optim.Muon(hidden, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups.values(), betas=(0.8, 0.9)),
        ]
    import bitsandbytes

    return [bitsandbytes.optim.AdamW8bit([*groups.values()], betas=(0.8, 0.9))]


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_the_library(name: str) -> None:
    ours, plain = Words(), Words()
    take(engine_of(ours, options(name)), range(4))
    optimizers = by_library(name, plain)
    for step, batch in enumerate(batches(range(4))):
        loss_of(plain(batch)).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * RATE / (step + 1)
            optimizer.step()
            optimizer.zero_grad()
    for key, value in plain.named_parameters():
        assert value.equal(ours.get_parameter(key)), key


@pytest.mark.parametrize("name", NAMES)
def test_it_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    train, file = options(name), tmp_path / "state.safetensors"
    straight, resumed = engine_of(Words(), train), engine_of(Words(seed=1), train)
    take(straight, range(3))
    write_state(straight.state(), file)
    saved = SavedEngineState([file])
    resumed.restore(saved)
    saved.require_all_read()
    for engine in (straight, resumed):
        take(engine, range(3, 6))
    for one, other in zip(straight.state(), resumed.state(), strict=True):
        assert one[0] == other[0]
        assert one.values.equal(other.values), one.name
        assert (one.values.dtype, one.shape) == (other.values.dtype, other.shape)


def test_the_paged_optimizer_puts_restored_moments_where_it_puts_new_ones(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    import mdpo_optimizers.paged

    placed: list[tuple[int, ...]] = []

    class Watched(mdpo_optimizers.paged.Paged):
        def get_state_buffer(self, p: Tensor, dtype: Any = torch.float32) -> Tensor:
            placed.append(tuple(p.shape))
            return torch.zeros_like(p, dtype=dtype)

    value = nn.Parameter(torch.ones(64, 64))
    one, other = Watched([value]), Watched([value])
    value.grad = torch.ones(64, 64)
    one.step()
    placed.clear()
    other.load_state_dict(one.state_dict())
    assert placed == [(64, 64), (64, 64)]
    assert all(other.state[value][key].equal(one.state[value][key]) for key in ("state1", "state2", "absmax1"))


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_of_memory_is_that_of_real_updates(name: str) -> None:
    model = Words(width=512, words=640)
    engine = engine_of(model, options(name))
    for value in model.parameters():
        value.grad = torch.randn_like(value)
    with LiveStorages() as storages:
        engine._optimizer.step(RATE)
        state = storages.num_bytes
        peak = storages.peak_bytes
    kept = component("optimizer", name).keeps(sizes_of(model))  # type: ignore[attr-defined,arg-type]
    expected = kept.state + kept.update + 2 * kept.widest_update
    if name == "paged_adamw_8bit":  # a CPU has no pages
        assert kept.state < 0.1 * state
        return
    assert kept.state == pytest.approx(state, rel=0.05)
    assert 0.95 * peak <= expected <= 1.35 * peak


def test_hidden_matrices_are_linear_weights_but_not_the_head() -> None:
    from peft import LoraConfig, get_peft_model

    model = Words()
    names = {id(value): name for name, value in model.named_parameters()}
    assert {names[each] for each in hidden_matrices(model)} == {"hidden.weight"}
    model.head.weight = model.embedding.weight
    assert {names[each] for each in hidden_matrices(model)} == {"hidden.weight"}
    adapted = get_peft_model(Words(), LoraConfig(r=2, target_modules=["hidden", "embedding"]))  # type: ignore[arg-type]
    trained = {id(value): name for name, value in adapted.named_parameters() if value.requires_grad}
    found = {trained[each].split("hidden.")[-1] for each in hidden_matrices(adapted) if each in trained}
    assert found == {"lora_A.default.weight", "lora_B.default.weight"}


def test_muon_without_a_matrix_is_refused() -> None:
    model = Words()
    model.hidden.weight.requires_grad_(False)
    with pytest.raises(RecipeError, match="'muon' is for matrices of hidden layers, and none of this model's trains"):
        engine_of(model, options("muon"))


def test_8_bits_need_cuda_and_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        optimizer: Any = component("optimizer", name)
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(RecipeError, match=f'{name} needs bitsandbytes.*: pip install "mdpo\\[bitsandbytes\\]"'):
            optimizer.check("cuda:0")
        module = type(sys)("bitsandbytes")
        module.__spec__ = find_spec("json")
        monkeypatch.setitem(sys.modules, "bitsandbytes", module)
        optimizer.check("cuda:0")
        with pytest.raises(RecipeError, match=f"{name} needs CUDA, and this run trains on 'cpu'; use adamw"):
            optimizer.check("cpu")


def test_muon_needs_a_torch_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    optimizer: Any = component("optimizer", "muon")
    with pytest.raises(RecipeError, match=r"muon needs torch 2\.9 or newer, and .* is installed"):
        optimizer.check("cpu")


class Twice(Optimizer):
    """Updates everything twice."""

    def start(self, weights: Any, train: Any, device: str) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([*weights.groups], lr=1.0), torch.optim.SGD([dict(each) for each in weights.groups])]


class Notes(Optimizer):
    """Keeps a text."""

    def start(self, weights: Any, train: Any, device: str) -> list[torch.optim.Optimizer]:
        optimizer = torch.optim.SGD([*weights.groups], lr=1.0)
        optimizer.state[weights.groups[0]["params"][0]]["note"] = "text"
        return [optimizer]


class Stateful(torch.optim.SGD):
    """Counts outside of its state, so that it resumes otherwise."""

    count = 0

    def step(self, closure: Any = None) -> None:
        self.count += 1
        for group in self.param_groups:
            group["lr"] /= self.count
        super().step()


class Forgets(Optimizer):
    """An optimizer whose count is in no checkpoint."""

    def start(self, weights: Any, train: Any, device: str) -> list[torch.optim.Optimizer]:
        return [Stateful([*weights.groups], lr=1.0)]


class Plain(Optimizer):
    """SGD with momentum, which is a valid optimizer."""

    def start(self, weights: Any, train: Any, device: str) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD([*weights.groups], lr=1.0, momentum=0.9)]


def test_an_optimizer_must_update_each_parameter_once() -> None:
    with pytest.raises(PluginError, match="Twice must update each parameter once; it was given 6, and updates 6, 12"):
        Updates(TrainableScorer(Words(), Words()), Train(optimizer=Twice()), "cpu")


def test_a_state_that_no_checkpoint_holds_is_named() -> None:
    model = Words()
    updates = Updates(TrainableScorer(model, model), Train(optimizer=Notes()), "cpu")
    with pytest.raises(PluginError, match="Notes keeps the str 'text' as 'note' of a parameter"):
        [piece for name in GROUPS for piece in updates.state(name)]


def test_the_contract_of_optimizers() -> None:
    check_optimizer(Plain())
    with pytest.raises(AssertionError, match="Forgets is not equal bit for bit two steps after loading"):
        check_optimizer(Forgets())
    with pytest.raises(
        AssertionError, match="Twice, when started: the optimizer Twice must update each parameter once"
    ):
        check_optimizer(Twice())
