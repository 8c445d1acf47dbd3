"""Changes of files for the fuzz tests: of the structure of JSON, of its bytes, and of tensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 33, 10**6, 10**12, -(2**63), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "2", "</s>", "<image>", "../x", "a/b", "é\udcff", [], {}, [0], [None], ["x"], {"x": 1}, [[[]]]),
)


@st.composite
def changed_json(draw: st.DrawFn, content: Any) -> Any:
    """``content`` with one to three changes: a value replaced, removed, moved, wrapped, or under another name."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        if not places:
            return copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "remove", "wrap", "rename", "copy"])):
            case "replace":
                # A copy, which later changes may change.
                holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
            case "remove":
                del holder[key]
            case "wrap":
                holder[key] = draw(st.sampled_from([[holder[key]], {"x": holder[key]}, str(holder[key])]))
            case "rename" if isinstance(holder, dict):
                holder[f"{key}_"] = holder.pop(key)
            case _:
                other, name = places[draw(st.integers(0, len(places) - 1))]
                holder[key] = copy.deepcopy(other[name] if other is not holder else holder[key])
    return changed


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Each place in nested lists and objects; of long ones the first twenty."""
    if depth > 5 or not isinstance(value, dict | list):
        return
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys[:20]:
        yield value, key
        yield from _places(value[key], depth + 1)


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` cut, doubled, or with other bytes at some place."""
    place = draw(st.integers(0, len(content)))
    inserted = draw(st.sampled_from([b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 100000, b"1" * 5000, b"}"]))
    rest = draw(st.sampled_from([content[place:], b"", content]))
    return content[:place] + inserted + rest


@st.composite
def changed_tensors(draw: st.DrawFn, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``tensors`` of which some are dropped, renamed, reshaped, of another type, or not finite."""
    changed = dict(tensors)
    for name in draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3, unique=True)):
        value = changed.pop(name)
        match draw(st.sampled_from(["drop", "rename", "flatten", "half", "transpose", "type", "nan"])):
            case "rename":
                changed[f"{name}_"] = value
            case "flatten":
                changed[name] = value.flatten()
            case "half":
                changed[name] = value[: len(value) // 2].contiguous()
            case "transpose":
                changed[name] = value.T.contiguous() if value.ndim == 2 else value[None]
            case "type":
                changed[name] = value.to(
                    draw(st.sampled_from([torch.bool, torch.int8, torch.float64, torch.complex64]))
                )
            case "nan":
                changed[name] = torch.full_like(value, float("nan"))
    return changed


def write_changed(draw: st.DrawFn, file: Path) -> None:
    """Replace a file by a changed one, by the kind of its content."""
    if file.suffix == ".safetensors":
        save_file(draw(changed_tensors(load_file(file))), file, metadata={"format": "pt"})
    elif file.suffix == ".json" and draw(st.integers(0, 4)):
        changed = draw(changed_json(json.loads(file.read_text())))
        file.write_text(json.dumps(changed))
    else:
        file.write_bytes(draw(changed_bytes(file.read_bytes())))
