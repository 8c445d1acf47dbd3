"""What ``train.group_by`` needs of the other options."""

from __future__ import annotations

from mdpo_core.recipe.sections import Found, Sections

_PLACE = ("train", "group_by")


def grouping(sections: Sections) -> Found:
    """Options beside which rows of one prompt cannot come together, or would do so in vain."""
    train = sections.train
    if train.group_by is None:
        return
    if train.length_window:
        yield _PLACE, "train.length_window brings rows of similar length together instead; leave out one of the two"
    if train.micro_batch_size == 1:
        yield _PLACE, "rows of one micro-batch share a prompt, so train.micro_batch_size must be 2 or more"
    if sections.data.check != "all" and not sections.data.is_streamed():
        yield _PLACE, "it needs the prompt of every row before training; write check: all in data"
