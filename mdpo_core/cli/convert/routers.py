"""The load-balancing loss of routers: TRL adds it to a mixture of experts, unless its configuration says 0."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.options import Options
from mdpo_core.cli.convert.parts import adapter_of
from mdpo_core.errors import DataError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.registry.discovery import make_component

_TAKES_EXPERTS = "chat_vlm"  # of the adapters that a name on the hub tells, the only one whose models may have experts
_OPTION, _SWITCH = "router_aux_loss_coef", "output_router_logits"
_HOW = f"the recipe has no such loss: train.{_OPTION} adds it"


def put_default_balance(draft: Draft, options: Options, model: str) -> None:
    """What TRL does without `router_aux_loss_coef`: it takes the weight of the model's config.json (trl 1.16).

    ``model``: the option that names the model.
    """
    path = options.text(model)
    adapter = adapter_of(path)
    if options.given(_OPTION) or (path and adapter != _TAKES_EXPERTS and not Path(path).is_dir()):
        return
    folder = _folder(path)
    if folder is None:
        draft.note(
            f"{_OPTION}: not given, so TRL takes that of the model's config.json if the model is a mixture of experts; "
            f"{_HOW}"
        )
        return
    text = next(_sections(_config(folder)), {})
    _put(draft, text.get(_OPTION), _has_routers(adapter, folder), options.truth("torch_compile"))


def _folder(path: str) -> Path | None:
    """The folder with the model's config.json: the model's own, or that of the hub's cache; None if it is not here."""
    if not path or Path(path).is_dir():
        return Path(path) if path else None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(path, "config.json")
    except ValueError:  # no name that the hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None


def _put(draft: Draft, weight: Any, has_routers: bool, compiled: bool) -> None:
    taken = f"{_OPTION}: not given, so TRL takes {weight} of the model's config.json; the recipe has no such loss"
    if weight == 0 or (weight is None and not has_routers):
        return
    if weight is None:
        draft.note(
            f"{_OPTION}: not given, so TRL takes what transformers has for a mixture of experts whose config.json says "
            f"none; {_HOW}"
        )
    elif not has_routers:
        draft.note(f"{taken}, because mdpo does not know routers of this model")
    elif compiled:
        draft.note(f"{taken}, because compiled layers hide what routers say")
    else:
        draft.put("train", _OPTION, weight, "of the model's config.json, as TRL does by default")


def _has_routers(name: str, folder: Path) -> bool:
    adapter = make_component("adapter", name, path=str(folder))
    assert isinstance(adapter, ModelAdapter)
    try:
        return adapter.has_routers
    except DataError:  # a model that mdpo refuses, which `mdpo check` tells
        return False


def _config(folder: Path) -> Any:
    """The model's config.json; nothing if there is none that can be read, which `mdpo check` tells."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _sections(config: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of a configuration that have routers, the outermost first."""
    if not isinstance(config, Mapping):
        return
    if _SWITCH in config:
        yield config
    for inner in config.values():
        yield from _sections(inner)
