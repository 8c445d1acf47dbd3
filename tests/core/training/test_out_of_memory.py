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
from support.paths import RECIPES

from mdpo_core import Batch, Evaluator, MdpoError, ModelAdapter, Policy, component, load_recipe, register, run
from mdpo_core.memory.estimate import Estimator
from mdpo_core.processes.world import ALONE
from mdpo_core.remedies import in_words_of_commands
from mdpo_core.runner import Run
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training.out_of_memory import MemoryAdvice, explained_while
from mdpo_core.words.amounts import memory_of

RECIPE = RECIPES / "llava_mdpo.yaml"
TERMS = {"dpo": component("loss", "dpo"), "copo": component("loss", "dpo", over="chosen@crop")}
WASTEFUL = ["scoring.share_prefix=false", "scoring.max_logits=null", "reference=auto", "model.lora=null"]
FULL = "scoring.activation_checkpointing=full"
# A limit on the address space from the first step on. It leaves room for all that is small in Python and torch, some
# of which fails with other errors than of memory. What does not fit is one tensor of the step, of 780 MB.
ROOM = 400_000_000
SCRIPT = f"""
import resource, sys
import mdpo_core.memory.estimate
from mdpo_core import MdpoError, hookimpl, load_recipe, run
from mdpo_core.registry.discovery import current_registry

class Limit:
    @hookimpl
    def mdpo_run_started(self):
        pages = int(open("/proc/self/statm").read().split()[0])
        size = pages * resource.getpagesize() + {ROOM}
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

current_registry().plugins.register(Limit())
try:
    run(load_recipe(sys.argv[1], sys.argv[2:]))
except MdpoError as error:
    sys.exit(f"told: {{error}}")
"""


class Asking(Evaluator):
    """Asks the policy for log-probs or for answers, or runs out of memory itself."""

    ask: str

    def evaluate(self, policy: Policy, folder: Path, step: int) -> dict[str, float]:
        rows = list(policy.trained_on)[:3]
        if self.ask == "itself":
            raise MemoryError("no room")
        return {"number": float(len(policy.generate(rows, 2) if self.ask == "answers" else policy.log_probs(rows)))}


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


@pytest.mark.parametrize(
    "text",
    [
        "std::bad_alloc",
        pytest.param("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.", marks=pytest.mark.long),
    ],
)
def test_a_machine_without_memory_is_told_like_a_card(changes: list[str], batch_and_model, text: str) -> None:  # type: ignore[no-untyped-def]
    batch, _, model = batch_and_model
    advisor = MemoryAdvice(load_recipe(RECIPE, changes), model, AdapterOff())
    with pytest.raises(MdpoError, match="out of memory with micro-batches of 2 pairs"), advisor.explained(batch):
        raise RuntimeError(text)


def test_the_message_says_what_failed_and_lists_what_would_help(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    text = advice([*changes, *WASTEFUL, "model.freeze=[vision]"], batch_and_model, FrozenCopy(batch_and_model[2]))
    assert "out of memory with micro-batches of 2 pairs" in text
    assert "Tried to allocate 2.00 GiB" in text
    for line in ("reference: cached - frees the second model's", "scoring.share_prefix: true - ", "fewer activations"):
        assert line in text
    assert "train.micro_batch_size: 1 - 50% fewer activations" in text
    assert re.search(r"full - \S+ [kMG]B instead of \S+ [kMG]B, for about a third more time", text)


@pytest.mark.long
def test_the_numbers_are_those_of_the_estimate(changes: list[str], batch_and_model) -> None:  # type: ignore[no-untyped-def]
    changes = [*changes, *WASTEFUL, "model.freeze=[vision]"]
    text = advice(changes, batch_and_model, FrozenCopy(batch_and_model[2]))
    now, then = (
        Estimator(recipe, on_gpu=False).estimate(batch_and_model[0], recipe.train, 1)
        for recipe in (load_recipe(RECIPE, [*changes, *more]) for more in ([], [FULL]))
    )
    sizes = [memory_of(size) for size in (now.weights, now.reference, now.activations, now.peak, then.peak)]
    assert f"weights {sizes[0]}, reference {sizes[1]}, gradients" in text
    assert f"activations {sizes[2]}, logits" in text
    assert f"at most {sizes[3]} in {now.where}" in text
    assert f"full - {sizes[4]} instead of {sizes[3]}" in text
    assert then.peak < now.peak


def test_without_an_estimate_the_weights_are_told(
    changes: list[str],
    batch_and_model,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    monkeypatch.setattr(type(load_recipe(RECIPE, changes).model), "sketch", ModelAdapter.sketch)
    text = advice([*changes, *WASTEFUL], batch_and_model)
    assert re.search(r"\(weights: \d[\d.]* [kM]B\)", text)
    assert "full - fewer activations, for about a third more time" in text


@pytest.mark.parametrize(
    "odd", [SystemError("returned a result with an exception set"), ImportError("x"), OSError("y")]
)
def test_an_estimate_that_fails_oddly_does_not_replace_the_error(
    odd: Exception,
    changes: list[str],
    batch_and_model,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*given: object, **named: object) -> None:
        raise odd

    monkeypatch.setattr(Estimator, "estimate", fails)
    assert "Tried to allocate 2.00 GiB" in advice([*changes, *WASTEFUL], batch_and_model)


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


@pytest.mark.long
def test_a_run_that_runs_out_of_memory_says_what_would_help(small: list[str], tmp_path: Path) -> None:
    from support.builders.small_llava import build_llava

    folder = build_llava(tmp_path / "llava336", image_size=336, hidden=32, wide=1024)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    large = [
        "trackers=[]",
        "train.batch_size=10",
        "train.micro_batch_size=10",
        "scoring.share_prefix=false",
        "reference=auto",
    ]
    command = [sys.executable, str(script), str(RECIPE), *small, f"model.path={folder}", *large]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stderr
    assert "told: out of memory with micro-batches of 10 pairs" in done.stderr
    assert "train.micro_batch_size: 5 - 50% fewer activations" in done.stderr
    assert "scoring.share_prefix: true - " in done.stderr


@pytest.mark.parametrize(
    ("evaluator", "doing"),
    [
        ("{evaluator: preference}", "with micro-batches of 2 pairs"),
        ("{evaluator: asking, ask: log_probs}", "with micro-batches of 2 pairs"),
        ("{evaluator: asking, ask: answers}", "while 2 answers were written at once"),
        ("{evaluator: asking, ask: itself}", "while the evaluator 'asking' measured"),
    ],
)
def test_an_evaluation_that_runs_out_of_memory_is_told_as_a_step_is(
    evaluator: str, doing: str, small: list[str], own_registry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    register("asking", Asking)
    recipe = load_recipe(RECIPE, [*small, f"evaluators=[{evaluator}]", "data.hold_out={rows: 3}", "reference=auto"])
    monkeypatch.setattr("mdpo_vlm.forward.model.generate", fails)
    monkeypatch.setattr(Scorer, "forward", fails)
    monkeypatch.setattr("mdpo_core.runner.Run.try_sharing", lambda *_: None)  # the first forward, before the evaluation
    with pytest.raises(MdpoError) as caught:
        run(recipe)
    assert f"out of memory {doing}" in str(caught.value)
    if "itself" not in evaluator:
        assert "train.micro_batch_size: 1 - 50% fewer activations" in str(caught.value)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."), MemoryError(), RuntimeError("ALLOC_FAILED")]
)
def test_memory_that_runs_out_while_loading_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    recipe = load_recipe(RECIPE)
    monkeypatch.setattr(type(recipe.model), "load", load)
    told = r"out of memory while the model was loaded: .*\n.*mdpo check RECIPE --gpu"
    with in_words_of_commands(), pytest.raises(MdpoError, match=told):
        Run(recipe, None, None, None, ALONE).load_model()  # type: ignore[arg-type]


def test_another_error_while_loading_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"^a shape$"), explained_while("the model was loaded"):
        raise RuntimeError("a shape")
