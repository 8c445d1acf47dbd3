"""What `mdpo check` says of a sound recipe: what would train, and what the check did not look at."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.interfaces.parts import PartTraining
    from mdpo_core.recipe.recipe import Recipe

_PROMPTS = {
    "chat": "chat: each question becomes a user's turn in the model's chat template",
    "ready": "ready: each text is used unchanged, without a chat template",
    None: "",
}


def would_train(recipe: Recipe, checked: CheckedData | None = None) -> Iterator[str]:
    """The parts of the model, how each trains, and on what; a line each. ``checked``: the rows, if they were read."""
    parts = ", ".join(f"{part} {_how(training)}" for part, training in recipe.model.training.items())
    yield f"  model      {recipe.model.component_name()}: {parts}"
    if checked is not None:
        yield from _numbers(recipe)
    if told := told_prompts(recipe):
        yield f"  prompts    {told}"
    yield f"  objective  {', '.join(recipe.labels())}; reference: {recipe.reference_kind() or 'none'}"
    if checked is not None:
        yield f"  rows       {rows_of(checked, f'{len(checked.rows)}')}"
    rate, told = f"learning rate {recipe.train.learning_rate:g}", told_steps(recipe)
    yield f"  steps      {_steps(recipe, checked)}, {rate}{f'; {told}' if told else ''}"
    evaluators = ", ".join(each.component_name() for each in recipe.evaluators)
    yield f"  evaluators {evaluators or 'none'}; writes to {recipe.output.dir}"
    if checked is not None:
        yield from _probe(recipe, checked)


def rows_of(checked: CheckedData, trained: str) -> str:
    """``64 to train on, 40 held out (boats 30, cats 10)``, or ``trained`` alone, which is the first number."""
    if checked.held_out is None:
        return trained
    counts = Counter(source for source in checked.held_out.sources if source)
    by_source = f" ({', '.join(f'{source} {count}' for source, count in sorted(counts.items()))})" if counts else ""
    return f"{trained} to train on, {len(checked.held_out.rows)} held out{by_source}"


def _numbers(recipe: Recipe) -> Iterator[str]:
    """How many numbers of the model train; nothing for an adapter that cannot say it without the weights."""
    from mdpo_core.errors import RecipeError
    from mdpo_core.interfaces.plugin_results import placement_of
    from mdpo_core.training.optimization import numbers_of_parts

    try:
        parts = numbers_of_parts(recipe, recipe.model.sketch(placement_of(recipe.backend).dtype)).values()
    except RecipeError:
        return
    trained, frozen = (sum(int(part[kind]) for part in parts) for kind in ("trained", "frozen"))
    yield f"             {trained:,} numbers train, {frozen:,} stay as they are"


def _probe(recipe: Recipe, checked: CheckedData) -> Iterator[str]:
    """When the probe measures that a recipe does not name, or why it does not; nothing if the recipe decides that."""
    from mdpo_core.data.sampler import Sampler
    from mdpo_core.recipe.automatic_probe import automatic_probe, run_size, why_not_probed

    probe = automatic_probe(recipe)
    if probe is None:
        return
    size = run_size(recipe, recipe.train.max_steps or Sampler.of(recipe.train, checked.lengths, checked.keys).num_steps)
    reason = why_not_probed(probe, size, checked.held_out_examples() or checked.valid_examples())
    every = probe.interval(size)
    when = "before and after the training" if every is None else f"at the start, every {every} steps and at the end"
    told = f"not measured: {reason}" if reason else f"measured {when}"
    yield f"  probe      are answers preferred because of the picture? {told}"


def _steps(recipe: Recipe, checked: CheckedData | None) -> str:
    train = recipe.train
    each = f"of {counted(train.batch_size, 'row')}"
    if train.max_steps is not None:
        return f"{counted(train.max_steps, 'step')} {each}"
    epochs = counted(train.epochs, "epoch")
    if checked is None:
        return f"{epochs} {each}"
    from mdpo_core.data.sampler import Sampler

    sampler = Sampler.of(train, checked.lengths, checked.keys)
    steps, of_epoch = (counted(count, "step") for count in (sampler.num_steps, sampler.steps_per_epoch))
    return f"{steps}: {epochs} of {of_epoch} {each}"


def told_steps(recipe: Recipe) -> str:
    """What ``train.max_steps`` makes of epochs and of a stream that ends; empty if nobody could expect otherwise."""
    train = recipe.train
    if train.max_steps is None:
        return ""
    told = ["a stream that ends before begins again"] if recipe.data.is_streamed() else []
    told += ["train.max_steps counts, not train.epochs"] if "epochs" in train.model_fields_set else []
    return "; ".join(told)


def told_prompts(recipe: Recipe) -> str:
    """Whether the chat template is applied to prompts; empty for a model that is made for its own prompts."""
    return _PROMPTS.get(getattr(recipe.model, "prompts", None), "")


def _how(training: PartTraining) -> str:
    if training.lora is not None:
        return f"by LoRA of rank {training.lora.rank}"
    return {"frozen": "frozen", "full": "in full", "lora": "by LoRA"}[training.mode]


def not_looked_at(name: str, *, data: bool, memory: bool) -> Iterator[str]:
    """What a check leaves out, and the commands that look at it; ``data``, ``memory``: whether it has looked there."""
    check = f"mdpo check {shlex.quote(name)}"
    if not data:
        yield f"  not looked at: rows, pictures, the model's files and this machine's devices  ({check} --data)"
    yield "  not looked at: the model's weights  (a run reads them)"
    if not memory:
        yield f"  not looked at: memory  ({check} --gpu GB)"
