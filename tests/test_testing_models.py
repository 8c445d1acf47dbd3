"""The contracts of adapters, backends, evaluators and trackers catch what is wrong, in one sentence that says what."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import pytest
import torch
from mdpo_llava.adapter import Llava
from mdpo_llava.encoder import LlavaEncoder
from mdpo_llava.model import LlavaModel, load_model
from mdpo_local import Local
from mdpo_local.engine import LocalEngine
from torch import Tensor, nn

from mdpo_core import EncodedPrompt, Evaluator, Example, Placement, Policy, Tracker, Train
from mdpo_core.testing import check_adapter, check_backend, check_evaluator, check_tracker


class Averaging(LocalEngine):
    """Divides by the number of micro-batches, although the loss is divided already."""

    def backward(self, loss: Tensor) -> None:
        super().backward(loss / 2)


class Overwriting(LocalEngine):
    """Keeps the gradients of the last micro-batch only."""

    def backward(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        super().backward(loss)


class Unclipped(LocalEngine):
    def __init__(self, scorer: nn.Module, train: Train, device: str, autocast: bool) -> None:
        super().__init__(scorer, train.model_copy(update={"max_grad_norm": 1e9}), device, autocast)


class Reclipped(LocalEngine):
    """Reports the norm as it is after clipping."""

    def step(self, learning_rate: float) -> float:
        return min(super().step(learning_rate), self._max_grad_norm)


class Unscheduled(LocalEngine):
    def step(self, learning_rate: float) -> float:
        return super().step(0.02)


class Decaying(LocalEngine):
    """Decays biases as well."""

    def __init__(self, scorer: nn.Module, train: Train, device: str, autocast: bool) -> None:
        super().__init__(scorer, train, device, autocast)
        for group in self._optimizer.param_groups:
            group["weight_decay"] = train.weight_decay


class Forgetful(LocalEngine):
    """Resumes with the weights, without the moments."""

    def load(self, folder: Path) -> None:
        super().load(folder)
        self._optimizer.state.clear()


class Pickling(LocalEngine):
    def save(self, folder: Path) -> None:
        super().save(folder)
        torch.save(self._optimizer.state_dict(), folder / "optimizer.pt")


class Unguarded(LocalEngine):
    """Steps whatever the gradients are."""

    def step(self, learning_rate: float) -> float:
        norm = super().step(learning_rate)
        if norm != norm:
            with torch.no_grad():
                for value in self._trained.values():
                    value.fill_(norm)
        return norm


class Broken(Local):
    engine: ClassVar[type[LocalEngine]]

    def start(self, scorer: nn.Module, train: Train) -> LocalEngine:
        return self.engine(scorer, train, "cpu", autocast=False)


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (Averaging, "step 0: gradient norm"),
        (Overwriting, "step 0: gradient norm"),
        (Unclipped, "step 1: log-probs are .* nats from AdamW's"),
        (Reclipped, "step 1: gradient norm 1.0, .* in plain torch"),
        (Unscheduled, "step 1: log-probs are .* nats from AdamW's at the learning rate 0.05"),
        (Decaying, "step .: log-probs are .* nats from AdamW's"),
        (Forgetful, "is not the same to the bit two steps after loading"),
        (Pickling, r"saves \['optimizer.pt'\]"),
        (Unguarded, "updates weights with gradients that are NaN"),
    ],
)
def test_a_broken_backend_is_caught(engine: type[LocalEngine], sentence: str) -> None:
    class Mutant(Broken):
        pass

    Mutant.engine = engine
    with pytest.raises(AssertionError, match=f"^Mutant:? {sentence}"):
        check_backend(Mutant(device="cpu"))


def test_autocast_passes_with_a_tolerance_that_fits_bfloat16_and_not_without() -> None:
    check_backend(Local(device="cpu", precision="bf16_autocast"), tolerance=0.1)
    with pytest.raises(AssertionError, match="Local step 0: "):
        check_backend(Local(device="cpu", precision="bf16_autocast"))


class Endless(LlavaEncoder):
    def encode_response(self, response: str) -> Tensor:
        return super().encode_response(response)[:-1]


class Lenient(LlavaEncoder):
    """Drops marks that have no image."""

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        if not example.images:
            return super().encode_prompt(Example("", "no mark", example.responses))
        surplus = example.prompt.count("<image>") - len(example.images)
        prompt = example.prompt.replace("<image>\n", "", surplus)
        return super().encode_prompt(Example(example.id, prompt, example.responses, example.images))


class BatchNorm(LlavaModel):
    def logits(self, hidden_states: Tensor) -> Tensor:
        return super().logits(hidden_states - hidden_states.mean(dim=(0, 1)))


class Partial(LlavaModel):
    def parts(self) -> Any:
        return {part: names for part, names in super().parts().items() if part != "projector"}


class Double(LlavaModel):
    def parts(self) -> Any:
        return {**super().parts(), "vision": super().parts()["language"]}


class Unswitchable(LlavaModel):
    @contextmanager
    def adapter_disabled(self) -> Iterator[None]:
        yield


class Dropping(LlavaModel):
    """Never switches dropout off again."""

    def set_training(self, training: bool) -> None:
        super().set_training(True)


class Dry(LlavaModel):
    def set_training(self, training: bool) -> None:
        super().set_training(False)


class Skipping(LlavaModel):
    def generate(self, prompts: Sequence[EncodedPrompt], max_new_tokens: int) -> list[Tensor]:
        return [ids[1:] for ids in super().generate(prompts, max_new_tokens)]


class Unexported(LlavaModel):
    def export(self, folder: Path) -> None:
        (folder / "weights.txt").write_text("to follow")


class Trial(Llava):
    made: ClassVar[type[LlavaModel]] = LlavaModel
    encodes: ClassVar[type[LlavaEncoder]] = LlavaEncoder

    def encoder(self) -> LlavaEncoder:
        return self.encodes(self._folder(), chat=False)

    def load(self, placement: Placement, *, trainable: bool = True) -> LlavaModel:
        loaded = load_model(self, self._folder(), placement, trainable)
        return self.made(loaded._module, loaded._base, loaded._source)


class Thawed(Trial):
    """Gives a reference that trains."""

    def load(self, placement: Placement, *, trainable: bool = True) -> LlavaModel:
        return super().load(placement, trainable=True)


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    picture = PIL.Image.linear_gradient("L").convert("RGB")
    prompts = [
        "USER: <image>\nWhat is it? ASSISTANT:",
        "USER: <image>\nHow many? ASSISTANT:",
        "USER: Hello! ASSISTANT:",
    ]
    return [
        Example(str(row), prompt, {"chosen": "A temple with a red roof.", "rejected": "Trees."}, (picture,) * (row < 2))
        for row, prompt in enumerate(prompts)
    ]


Make = Callable[..., Trial]


@pytest.fixture
def make(llava: Path) -> Make:
    def adapter(kind: type[Trial] = Trial, **parts: Any) -> Trial:
        class Mutant(kind):  # type: ignore[valid-type, misc]  # a base chosen by the test
            made = parts.get("made", LlavaModel)
            encodes = parts.get("encodes", LlavaEncoder)

        mutant: Trial = Mutant(path=str(llava), lora={"rank": 2, "alpha": 4, "dropout": 0.5})
        return mutant

    return adapter


def test_a_sound_adapter_passes(make: Make, rows: list[Example]) -> None:
    check_adapter(make(), rows)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (BatchNorm, ": padding changes the logits of row"),
        (Partial, " has parameters in no part, or parts with none"),
        (Double, " puts parameters into two parts"),
        (Unswitchable, ": with its adapter disabled the model is not the base, on 'chosen'"),
        (Dropping, ": two forwards outside of training differ"),
        (Dry, ": two forwards in training are alike, in spite of the adapter's dropout"),
        (Skipping, ": the answer to row 0 begins with token"),
        (Unexported, " exports no safetensors"),
    ],
)
def test_a_broken_model_is_caught(make: Make, rows: list[Example], made: type[LlavaModel], sentence: str) -> None:
    with pytest.raises(AssertionError, match=f"^Mutant{sentence}"):
        check_adapter(make(made=made), rows)


@pytest.mark.parametrize(
    ("encodes", "sentence"),
    [
        (Endless, "ends responses with different tokens"),
        (Lenient, "encodes a prompt of 2 <image> marks with 1 images; that is a DataError"),
    ],
)
def test_a_broken_encoder_is_caught(
    make: Make, rows: list[Example], encodes: type[LlavaEncoder], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=f"^Mutant {sentence}"):
        check_adapter(make(encodes=encodes), rows)


def test_a_reference_that_trains_is_caught(make: Make, rows: list[Example]) -> None:
    with pytest.raises(AssertionError, match=r"^Mutant loads a reference that trains"):
        check_adapter(make(Thawed), rows)


def test_an_export_that_loads_as_another_model_is_caught(make: Make, rows: list[Example]) -> None:
    with pytest.raises(AssertionError, match=r"^Mutant exports a model of other parameters than it trained"):
        check_adapter(make(), rows, reload=lambda folder: nn.Linear(1, 1))


def test_an_adapter_is_not_tried_on_too_little(make: Make, rows: list[Example]) -> None:
    with pytest.raises(ValueError, match="at least two examples, one of them with an image"):
        check_adapter(make(), rows[2:])


class Steady(Evaluator):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"accuracy": 0.5}


class Undefined(Steady):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"accuracy": float("nan")}


class Drawing(Steady):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"accuracy": 0.5 + 0 * random.random()}


class Drifting(Steady):
    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        return {"accuracy": 0.5 + step}


@pytest.mark.parametrize(
    ("evaluator", "sentence"),
    [
        (Undefined(), "Undefined gives accuracy = nan; leave out what cannot be measured"),
        (Drawing(), "Drawing uses a random generator of the process"),
        (Drifting(), "Drifting gives {'accuracy': 0.5} and then {'accuracy': 10.5} for one policy"),
    ],
)
def test_a_broken_evaluator_is_caught(evaluator: Evaluator, sentence: str, tmp_path: Path) -> None:
    policy: Any = None
    check_evaluator(Steady(), policy, tmp_path)
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_evaluator(evaluator, policy, tmp_path)


class Silent(Tracker):
    def start(self, folder: Path) -> Any:
        return self

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class Popping(Silent):
    def log(self, step: int, metrics: Any) -> None:
        metrics.pop("epoch")


class Sampling(Silent):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        random.random()


@pytest.mark.parametrize(
    ("tracker", "sentence"),
    [
        (Popping(), "Popping changes the metrics that it is given"),
        (Sampling(), "Sampling uses a random generator of the process"),
    ],
)
def test_a_broken_tracker_is_caught(tracker: Tracker, sentence: str, tmp_path: Path) -> None:
    check_tracker(Silent(), tmp_path / "sound")
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        check_tracker(tracker, tmp_path / "broken")
