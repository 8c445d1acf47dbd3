"""What a user reads when memory runs out."""

from __future__ import annotations

import re
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.builders.scorers import examples, make
from support.kept_bytes import LiveStorages
from support.paths import RECIPES

from mdpo_core import Batch, MdpoError, component, load_recipe
from mdpo_core.processes.world import ALONE
from mdpo_core.runner import Run
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy
from mdpo_core.training.out_of_memory import MemoryAdvice, activation_bytes_per_token, explained_before_steps
from mdpo_core.types.layout import PaddedView

RECIPE = RECIPES / "llava_mdpo.yaml"
TERMS = {"dpo": component("loss", "dpo"), "copo": component("loss", "dpo", over="chosen@crop")}
WASTEFUL = ["scoring.share_prefix=false", "scoring.max_logits=null", "reference=auto", "model.lora=null"]
# A limit on the address space from the first step on: loading the model must still succeed.
SCRIPT = """
import resource, sys
from mdpo_core import MdpoError, hookimpl, load_recipe, run
from mdpo_core.registry.discovery import current_registry

class Limit:
    @hookimpl
    def mdpo_run_started(self):
        pages = int(open("/proc/self/statm").read().split()[0])
        size = pages * resource.getpagesize() + 100_000_000
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

current_registry().plugins.register(Limit())
try:
    run(load_recipe(sys.argv[1], sys.argv[2:]))
except MdpoError as error:
    sys.exit(f"told: {error}")
"""


@pytest.fixture(scope="module")
def batch_and_model(llava: Path, photographs: Path):  # type: ignore[no-untyped-def]
    builder, objective, _, model = make(llava, TERMS)
    data = examples([("A pink flower", "no people", True), ("A", "green leaves", True)], photographs)
    return builder.build(data, [0, 1], epoch=0), objective.reads.views, model


def advice(changes: list[str], batch_and_model, reference=None) -> str:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    advisor = MemoryAdvice(load_recipe(RECIPE, changes), model, reference or AdapterOff())
    with pytest.raises(MdpoError) as caught, advisor.explained(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return str(caught.value)


def test_the_message_says_what_failed_and_lists_what_would_help(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    text = advice([*changes, *WASTEFUL, "model.freeze=[vision]"], batch_and_model, FrozenCopy(batch_and_model[2]))
    assert "out of memory with micro-batches of 2 pairs" in text
    assert "Tried to allocate 2.00 GiB" in text
    for line in ("reference: cached - frees the second model's", "scoring.share_prefix: true - ", "fewer activations"):
        assert line in text
    assert "train.micro_batch_size: 1 - 50% fewer activations" in text
    found = re.search(r"full - (\S+) GB of the layers' activations are kept instead of (\S+) GB, for about", text)
    assert found
    assert 0 < float(found[1]) < float(found[2]) / 4


def test_the_tokens_that_sharing_saves_are_counted(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    batch, views, _ = batch_and_model
    separate = sum(
        len(batch.items[view][row].prompt) + len(batch.items[view][row].response) for view in views for row in range(2)
    )
    prompts = sum(len(prompt.token_ids) for row in batch.rows for prompt in row.prompts.values())
    responses = {(view, row): len(batch.rows[row].responses[view.response]) for view in views for row in range(2)}
    shared = prompts + sum(responses.values())
    text = advice([*changes, *WASTEFUL], batch_and_model)
    assert f"{shared} tokens instead of {separate}, so {1 - shared / separate:.0%} less" in text


def test_activations_are_what_backward_reads_without_weights() -> None:
    class Model:
        """tanh(weight @ embedding): backward reads the token ids, the embeddings, the weight and the output."""

        def __init__(self) -> None:
            self.module = torch.nn.Sequential(torch.nn.Embedding(5, 6), torch.nn.Linear(6, 4), torch.nn.Tanh())

        def hidden_states(self, rows: PaddedView, images: object) -> torch.Tensor:
            found: torch.Tensor = self.module(rows.token_ids)
            return found

    assert activation_bytes_per_token(Model(), num_tokens=3) == 8 + 6 * 4 + 4 * 4  # type: ignore[arg-type]


def test_activations_are_those_of_the_run_s_arithmetic(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    """Autocast keeps most inputs of layers in half as many bytes, and copies of weights that no token adds to."""

    def kept(precision: str) -> float:
        text = advice([*changes, f"backend.precision={precision}"], batch_and_model)
        found = re.search(r"are kept instead of (\S+) GB", text)
        assert found
        return float(found[1])

    assert kept("bf16_autocast") < 0.75 * kept("fp32")


@pytest.mark.parametrize("autocast", [False, True])
def test_they_are_what_more_tokens_add(autocast: bool, batch_and_model) -> None:  # type: ignore[no-untyped-def]
    _, _, model = batch_and_model

    def alive(num_tokens: int) -> int:
        ids = torch.zeros(1, num_tokens, dtype=torch.long)
        row = PaddedView(ids, torch.ones_like(ids), torch.zeros_like(ids, dtype=torch.bool))
        with LiveStorages() as storages, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            hidden = model.hidden_states(row, ())
            return storages.num_bytes - hidden.nbytes

    alive(16)  # fills caches
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = activation_bytes_per_token(model)
    # Backward keeps a little besides: position embeddings, a mask.
    assert found == pytest.approx((alive(64) - alive(32)) / 32, rel=0.1)


def test_what_is_on_already_is_not_advised(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    text = advice([*changes, "scoring.activation_checkpointing=full"], batch_and_model)
    for word in ("share_prefix", "reference: cached", "activation_checkpointing", "max_logits"):
        assert word not in text


def test_a_batch_of_some_views_is_advised_about_as_any_other(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    cropped = {view: digests for view, digests in batch.digests.items() if view.condition == "crop"}
    rows = tuple(replace(row, prompts={"crop": row.prompts["crop"]}) for row in batch.rows)
    part = replace(batch, rows=rows, digests=cropped)
    text = advice([*changes, *WASTEFUL], (part, None, model))
    assert "train.micro_batch_size: 1" in text


def test_the_micro_batch_that_is_advised_divides_the_batch(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    digests = {view: (digests * 5)[:9] for view, digests in batch.digests.items()}
    nine = replace(batch, rows=(batch.rows * 5)[:9], image_indices=(batch.image_indices * 5)[:9], digests=digests)
    text = advice([*changes, "train.batch_size=18", "train.micro_batch_size=9"], (nine, None, model))
    assert "train.micro_batch_size: 3 - 67% fewer activations" in text


def test_what_the_failed_step_held_is_free_when_advice_is_sought(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    held: list[weakref.ref[torch.Tensor]] = []

    class Advisor(MemoryAdvice):
        def _situation(self, batch: Batch) -> str:
            assert held[0]() is None
            return super()._situation(batch)

    def fails() -> None:
        activations = torch.zeros(3)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    advisor = Advisor(load_recipe(RECIPE, changes), model, AdapterOff())
    with pytest.raises(MdpoError, match="out of memory with micro-batches"), advisor.explained(batch):
        fails()


def test_another_error_is_passed_on_as_it_is(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    advisor = MemoryAdvice(load_recipe(RECIPE, changes), model, AdapterOff())
    with pytest.raises(RuntimeError, match="mat1 and mat2"), advisor.explained(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_run_that_runs_out_of_memory_says_what_would_help(small: list[str], tmp_path: Path) -> None:
    from support.builders.small_llava import build_llava

    folder = build_llava(tmp_path / "llava336", image_size=336, hidden=64)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    large = ["trackers=[]", "train.batch_size=10", "train.micro_batch_size=10", "scoring.share_prefix=false"]
    command = [sys.executable, str(script), str(RECIPE), *small, f"model.path={folder}", *large]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert "told: out of memory with micro-batches of 10 pairs" in done.stderr
    assert "train.micro_batch_size: 5 - 50% fewer activations" in done.stderr
    assert "scoring.share_prefix: true - " in done.stderr


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."), MemoryError(), RuntimeError("ALLOC_FAILED")]
)
def test_memory_that_runs_out_while_loading_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    recipe = load_recipe(RECIPE)
    monkeypatch.setattr(type(recipe.model), "load", load)
    with pytest.raises(MdpoError, match=r"out of memory while the model was loaded: .*\n.*mdpo check RECIPE --gpu"):
        Run(recipe, None, None, None, ALONE).load_model()  # type: ignore[arg-type]


def test_another_error_while_loading_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"^a shape$"), explained_before_steps("the model was loaded"):
        raise RuntimeError("a shape")
