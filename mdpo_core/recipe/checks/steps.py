"""What the schedule of the learning rate needs of the number of steps."""

from __future__ import annotations

from mdpo_core.errors import Problem, RecipeError
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.sections import Found, Sections
from mdpo_core.words.amounts import counted


def steps(sections: Sections) -> Found:
    """Problems of ``train.max_steps``. The steps of epochs are known only when the rows are: `require_enough_steps`."""
    if sections.train.max_steps is not None:
        yield from _too_long(sections.train, sections.train.max_steps)


def require_enough_steps(train: Train, num_steps: int) -> None:
    """Raise `RecipeError` if the schedule needs more than the ``num_steps`` steps of the run."""
    found = [Problem("", ".".join(map(str, keys)), text) for keys, text in _too_long(train, num_steps)]
    if found:
        raise RecipeError(found)


def _too_long(train: Train, num_steps: int) -> Found:
    run = f"the run has {counted(num_steps, 'step')}"
    if train.warmup_steps is not None and train.warmup_steps >= max(num_steps, 1):
        text = f"{train.warmup_steps} is not below the steps of the run, so no step would come after the warm-up"
        yield ("train", "warmup_steps"), f"{text}: {run}; set it to {num_steps // 10}, for example, or train longer"
        return
    warmup = train.num_warmup_steps(num_steps)
    after = max(num_steps - warmup, 0)
    for name, schedule in (("num_decay_steps", "warmup_stable_decay"), ("num_cycles", "cosine_with_restarts")):
        needed = train.schedule_options.get(name, 0)
        if train.schedule == schedule and not isinstance(needed, str) and needed > after:
            text = f"{needed} is more than the {after} steps after the warm-up of {warmup}: {run}"
            yield ("train", "schedule_options", name), f"{text}; make it smaller, or train longer"
