"""What `mdpo check` says of a sound recipe: what would train, and what the check did not look at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdpo_core.interfaces.parts import PartTraining
    from mdpo_core.recipe.recipe import Recipe

_PROMPTS = {
    "chat": "chat: each question becomes a user's turn in the model's chat template",
    "ready": "ready: each text is used unchanged, without a chat template",
    None: "",
}


def would_train(recipe: Recipe) -> Iterator[str]:
    """The parts of the model, how each trains, and on what; a line each."""
    parts = ", ".join(f"{part} {_how(training)}" for part, training in recipe.model.training.items())
    yield f"  model      {recipe.model.component_name()}: {parts}"
    if told := told_prompts(recipe):
        yield f"  prompts    {told}"
    yield f"  objective  {', '.join(recipe.labels())}; reference: {recipe.reference_kind() or 'none'}"
    train = recipe.train
    length = f"{train.epochs} epochs" if train.max_steps is None else f"at most {train.max_steps} steps"
    yield f"  steps      {length} of {train.batch_size} rows, learning rate {train.learning_rate:g}"
    evaluators = ", ".join(each.component_name() for each in recipe.evaluators)
    yield f"  evaluators {evaluators or 'none'}; writes to {recipe.output.dir}"


def told_prompts(recipe: Recipe) -> str:
    """Whether the chat template is applied to prompts; empty for a model that is made for its own prompts."""
    return _PROMPTS.get(getattr(recipe.model, "prompts", None), "")


def _how(training: PartTraining) -> str:
    if training.lora is not None:
        return f"by LoRA of rank {training.lora.rank}"
    return {"frozen": "frozen", "full": "in full", "lora": "by LoRA"}[training.mode]


def not_looked_at(name: str, *, data: bool) -> Iterator[str]:
    """What a check leaves out, and the commands that look at it. ``data``: whether it has read the rows."""
    check = f"mdpo check {shlex.quote(name)}"
    if not data:
        yield f"  not looked at: rows, pictures and the model's files  ({check} --data)"
    yield "  not looked at: the model's weights  (a run reads them)"
    yield f"  not looked at: memory  ({check} --gpu GB)"
