"""`mdpo convert`: a recipe from the configuration of TRL, LLaMA-Factory or ms-swift."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mdpo_core.cli.convert.config import Config, read_config
from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.llamafactory import of_llamafactory
from mdpo_core.cli.convert.options import Options
from mdpo_core.cli.convert.swift import of_swift
from mdpo_core.cli.convert.trl import of_trl
from mdpo_core.errors import Problem, RecipeError
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import Document
from mdpo_core.recipe.yaml_text import read_yaml
from mdpo_core.storage.files import atomic_write
from mdpo_core.words.amounts import counted

TRAINERS_READ: Mapping[str, Callable[[Config, int], tuple[Draft, Options]]] = {
    "trl": of_trl,
    "llamafactory": of_llamafactory,
    "swift": of_swift,
}
# Options that only one of the trainers has.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    "llamafactory": ("stage", "finetuning_type", "pref_loss", "pref_beta", "cutoff_len", "dataset_dir", "lora_target"),
    "swift": ("rlhf_type", "tuner_type", "train_type", "model", "split_dataset_ratio", "freeze_vit", "attn_impl"),
    "trl": ("loss_type", "beta", "dataset_name", "use_peft", "precompute_ref_log_probs", "model_name_or_path"),
}
_PIXELS = ("MAX_PIXELS", "MIN_PIXELS", "VIDEO_MAX_PIXELS", "FPS_MAX_FRAMES")  # variables of ms-swift
_SECTIONS = {"model", "data", "objective", "train"}  # of a recipe of ours
_OF_ALL = ("learning_rate", "output_dir", "per_device_train_batch_size", "num_train_epochs")


def convert(options: argparse.Namespace) -> int:
    """Write the recipe, and tell what it lacks. Raises `RecipeError` for what no recipe can say."""
    out: Path | None = options.out
    if out is not None and (out.exists() or out.is_symlink()):
        raise RecipeError(f"{out} already exists, and nothing is written over it; name another file with --out FILE")
    if out is not None and not out.parent.is_dir():
        raise RecipeError(f"{out}: the folder {out.parent} does not exist; make it first")
    text, notes = converted(options.config, options.trainer, options.processes, out)
    if out is None:
        print(text, end="")  # noqa: T201
    else:
        atomic_write(out, text.encode())
    print("\n".join(_told(options.config, out, notes)), file=sys.stderr)  # noqa: T201
    return 0


def converted(file: Path, trainer: str | None, processes: int | None, out: Path | None) -> tuple[str, list[str]]:
    """The text of a recipe that loads, and a sentence for each thing that it lacks or has in another way."""
    config = read_config(file)
    if config.options.keys() >= _SECTIONS:
        raise RecipeError(f"{file} is a recipe of mdpo already: mdpo check {file}")
    name = trainer or config.trainer or _recognized(config)
    count = processes or int(config.environment.get("NPROC_PER_NODE") or 1)
    draft, options = TRAINERS_READ[name](config, count)
    pixels = [f"{key}: see the model's own processor" for key in _PIXELS if key in config.environment]
    notes = [*draft.notes, *options.left(), *pixels]
    text = draft.text(_head(config, options.title, out, count, notes))
    root = read_yaml(text, lambda line: f"{file}")
    assert root is not None
    try:
        build_recipe(Document(root, str(file)), count)
    except RecipeError as error:
        made = Problem(str(file), "", f"the recipe from these options of {options.title} is not valid; write another:")
        raise RecipeError([made, *error.problems]) from error
    return text, notes


def _recognized(config: Config) -> str:
    """The trainer whose options these are. Raises `RecipeError` if none is."""
    named = (name for name, signs in _SIGNS.items() if any(sign in config.options for sign in signs))
    found = next(named, "trl" if any(name in config.options for name in _OF_ALL) else "")
    if not found:
        known = ", ".join(f"--from {name}" for name in TRAINERS_READ)
        config.refuse(f"has no option by which its trainer is known; say it: {known}")
    return found


def _head(config: Config, title: str, out: Path | None, processes: int, notes: list[str]) -> list[str]:
    name = "RECIPE" if out is None else str(out)
    launched = f" --processes {processes}" if processes > 1 else ""
    lines = [f"mdpo-run {name}{launched}", "", f"Made by `mdpo convert` from {config.file}, options of {title}."]
    heading = ["What is different, or is not carried over:"] if notes else []
    return [*lines, *heading, *(f"- {note}" for note in notes)]


def _told(file: Path, out: Path | None, notes: list[str]) -> list[str]:
    said = [f"{file}: {note}" for note in notes]
    if out is None:
        return said or [f"{file}: everything is carried over"]
    left = f"{counted(len(notes), 'thing')} to look at above" if notes else "everything is carried over"
    return [*said, f"{out}: {left}; next: mdpo check {out} --data"]
