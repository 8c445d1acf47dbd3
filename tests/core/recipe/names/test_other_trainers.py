"""Names of other trainers answer where an option is unknown, and the table has all of theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from support.effort import num_examples
from support.paths import LLAVA_MDPO

from mdpo_core import RecipeError, load_recipe
from mdpo_core.recipe.loading import SECTIONS
from mdpo_core.recipe.names.other_trainers import TRAINERS, OtherName, other_name, other_names
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry

LINES = other_names()
NAMES = [name for line in LINES for name in line.names if "*" not in name]
PLACES = ("", "train.", "model.", "model.lora.", "data.", "objective.0.", "corruptions.crop.", "backend.", "output.")


def said_of(assignment: str) -> str:
    """The problems of a recipe with an assignment; empty if it is sound."""
    try:
        load_recipe(LLAVA_MDPO, [assignment])
    except RecipeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        (
            "train.per_device_train_batch_size=2",
            "train.per_device_train_batch_size: unknown option; `per_device_train_batch_size` is "
            "`train.micro_batch_size`; accumulation follows from `train.batch_size`  (train: adam_betas, ",
        ),
        ("num_train_epochs=2", "unknown section; `num_train_epochs` is `train.epochs`  (model, data, "),
        ("model.lora.lora_r=8", "model.lora.lora_r: unknown option; `lora_r` is `model.lora.rank`  (llava: alpha, "),
        ("model.lora.r=8", "model.lora.r: unknown option; `r` is `model.lora.rank`"),
        ("objective.1.loss_weights=8", "unknown option; `loss_weights` is `objective.*.weight`"),
        ("train.max_length=8", "unknown option; `max_length` is `model.max_length`; a longer row is bad, and is not"),
        ("data.cutoff_len=8", "unknown option; `cutoff_len` is `model.max_length`"),
        ("model.trust_remote_code=true", "unknown option; `trust_remote_code`: mdpo runs no code that comes with a"),
        ("model.lora.galore_rank=8", "unknown option; `galore_rank`: "),
        ("learning-rate=1", "unknown section; `learning-rate` is `train.learning_rate`"),
        ("backend.beta=1", "backend.beta: unknown option; `beta` is `objective.*.beta`  (local: "),
    ],
)
def test_an_option_of_another_trainer_is_answered_by_the_one_of_mdpo(assignment: str, sentence: str) -> None:
    assert sentence in said_of(assignment)


def test_a_name_that_mdpo_has_elsewhere_does_not_answer_with_its_own_place() -> None:
    assert said_of("objective.0={loss: ipo, beta: 0.1}") == (
        "the change objective.0={loss: ipo, beta: 0.1}: objective.0.beta: unknown option  "
        "(ipo: label, length_normalize, over, prefer, scored, tau, weight)"
    )


def test_a_change_in_python_is_answered_in_the_same_way() -> None:
    recipe = load_recipe(LLAVA_MDPO)
    with pytest.raises(RecipeError, match=r"^train.num_train_epochs: 'num_train_epochs' does not exist; `num_train"):
        recipe.with_({"train.num_train_epochs": 3})
    with pytest.raises(RecipeError, match=r"^lora_r: 'lora_r' does not exist; `lora_r` is `model.lora.rank`"):
        recipe.with_({"lora_r": 3})


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(NAMES))
def test_at_every_place_a_name_answers_or_is_an_option_there(place: str, name: str) -> None:
    """The oracle is the error without the table, which lists what is known at the place."""
    said = said_of(f"{place}{name}=1")
    line = other_name(name)
    assert line is not None
    if ": unknown " in said and place + name not in [key.replace("*", "0") for key in line.keys]:
        assert line.answer(name) in said


def test_each_name_is_listed_once_with_trainers_and_an_answer() -> None:
    names = [name for line in LINES for name in line.names]
    assert sorted(names) == sorted(set(names))
    assert {trainer for line in LINES for trainer in line.trainers} == set(TRAINERS)
    assert not [line for line in LINES if not (line.keys or line.remark)]


@pytest.mark.parametrize("key", sorted({key for line in LINES for key in line.keys}))
def test_every_key_that_the_table_names_exists(key: str) -> None:
    section, *rest = key.split(".")
    field = Recipe.model_fields[section]
    of_components = [
        each for kind in SECTIONS.get(section, ()) for each in current_registry().components(kind).values()
    ]
    rest = rest[1:] if rest[:1] == ["*"] else rest
    assert any(_has(each, rest) for each in of_components or [field.annotation])


def _has(holder: Any, keys: list[str]) -> bool:
    """Whether options of these names exist, one inside another; a mapping has any key."""
    if not keys:
        return True
    if isinstance(holder, type) and issubclass(holder, BaseModel):
        return keys[0] in holder.model_fields and _has(holder.model_fields[keys[0]].annotation, keys[1:])
    inner = get_args(holder)
    if getattr(holder, "__origin__", None) in (dict, Mapping):
        return _has(inner[1], keys[1:])
    return any(_has(each, keys) for each in inner)


def lacking(names: Iterable[str]) -> list[str]:
    return [name for name in names if other_name(name) is None]


def test_the_table_has_every_option_of_transformers() -> None:
    from transformers import TrainingArguments

    assert not lacking(field.name for field in dataclasses.fields(TrainingArguments))


def test_the_table_has_every_option_of_trl() -> None:
    trl = pytest.importorskip("trl")
    for options in (trl.DPOConfig, trl.ModelConfig, trl.ScriptArguments):
        assert not lacking(field.name for field in dataclasses.fields(options))


@pytest.mark.parametrize("trainer", ["llamafactory", "swift"])
def test_the_table_has_every_option_of_a_trainer(trainer: str) -> None:
    """The lists were read from the trainers' sources; see their first lines."""
    lines = (Path(__file__).parent / f"{trainer}.txt").read_text().splitlines()
    assert not lacking(line for line in lines if not line.startswith("#"))


def test_a_line_says_who_calls_an_option_so() -> None:
    assert other_name("lora_r") == OtherName(
        "What trains", ("lora_r", "lora_rank"), ("trl", "llamafactory", "swift"), ("model.lora.rank",), ""
    )
