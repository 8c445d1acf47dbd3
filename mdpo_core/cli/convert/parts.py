"""The model of a recipe: its adapter, and what of it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.options import Options

UNKNOWN_MODEL = "MODEL"
ALL_LINEAR = "all-linear"
LONGEST = 1_000_000  # tokens: no limit
_BY_NAME = {"bunny": "bunny", "liuhaotian/": "llava"}


def put_model(draft: Draft, options: Options, name: str) -> None:
    """The adapter, the model's path and the kind of its prompts; ``name``: the option that names the model."""
    path = options.text(name)
    if not path:
        draft.note(f"model.path: the configuration has no {name}; set it in place of {UNKNOWN_MODEL}")
    adapter = adapter_of(path)
    draft.put("model", "adapter", adapter, "" if Path(path or ".").is_dir() else "mdpo plugins adapter lists others")
    draft.put("model", "path", path or UNKNOWN_MODEL, options.why(name) if path else "set it")
    if adapter != "bunny":
        draft.put("model", "prompts", "chat", f"the model's chat template, as in {options.title}")


def adapter_of(path: str) -> str:
    """The name of the adapter for a model: by its files, or by its name on the hub."""
    from mdpo_core.cli.starting.new_recipe import model_summary

    if path and Path(path).is_dir():
        return model_summary(path, ready=False)[0]
    return next((adapter for part, adapter in _BY_NAME.items() if part in path.lower()), "chat_vlm")


def put_lora(draft: Draft, values: Mapping[str, Any], targets: list[str], why: str) -> None:
    """The option ``lora``; ``targets`` in any trainer's words."""
    plain = [ALL_LINEAR if each in ("all", ALL_LINEAR) else each for each in targets]
    told = {key: value for key, value in values.items() if key == "dropout" or value not in (False, [])}
    draft.put("model", "lora", {**told, "targets": plain or [ALL_LINEAR]}, why)


def note_dropout(draft: Draft, options: Options, why: str) -> None:
    """Tell of a dropout of LoRA that the configuration asks for, and that its trainer switches off."""
    if options.given("lora_dropout") and (asked := options.number("lora_dropout")):
        draft.note(f"lora_dropout: {asked} is 0.0 in the recipe, as {why}; model.lora.dropout: {asked} would use it")


def put_length(draft: Draft, options: Options, name: str) -> None:
    """The option ``max_length``."""
    if options.value(name) is None:
        draft.put("model", "max_length", LONGEST, f"{options.title} has no limit, by default")
        return
    draft.put("model", "max_length", options.whole(name), f"{options.why(name)}; longer rows are bad, and are not cut")


def put_four_bits(draft: Draft, options: Options, name: str) -> None:
    """The option ``quantize``; ``name``: the option with the number of bits."""
    if options.given(name):
        draft.put("model", "quantize", "nf4", name)
        if options.whole(name) != 4:
            draft.note(f"{name}: 4 bits are the only ones here")


def put_liger(draft: Draft, options: Options, name: str) -> None:
    """The option ``kernels``; ``name``: the option that asks for Liger's."""
    if options.truth(name):
        draft.put("model", "kernels", "liger", name)


def put_parts(draft: Draft, options: Options, trained: Mapping[str, str], rates: Mapping[str, str], lora: bool) -> None:
    """Which parts train beside the language model. ``trained``: the option that freezes a part, by part.

    ``rates``: the option with a part's own learning rate.
    """
    names = tuple(trained.values())
    frozen = [part for part, name in trained.items() if options.truth(name)]
    if not lora:
        draft.put("model", "freeze", frozen, options.why(*names))
    parts: dict[str, Any] = {}
    for part in trained:
        rate = {"learning_rate": float(options.number(rates[part]))} if options.given(rates.get(part, "")) else {}
        if lora and part == "language" and part in frozen:
            parts[part] = {"train": "frozen"}
        elif lora and part != "language" and part not in frozen:
            parts[part] = {"train": "lora", **rate}
        elif not lora and rate and part not in frozen:
            parts[part] = {"train": "full", **rate}
    if parts:
        draft.put("model", "parts", parts, options.why(*names))
