"""Where an adapter finds its model: by a relative path, from any folder, at another place, or not any more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdpo_core import RecipeError, component


def test_relative_path_works_in_full_from_any_folder(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(llava.parent)
    adapter = component("adapter", "llava", path=llava.name)
    full = adapter.in_full()  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    assert (adapter.lost, full.lost) == (llava.name, None)  # type: ignore[attr-defined]
    assert full == component("adapter", "llava", path=str(llava))
    assert adapter.at(str(llava)) == full  # type: ignore[attr-defined]


def test_complete_model_is_read_from_its_own_folder(llava: Path) -> None:
    adapter = component("adapter", "llava", path="/gone", lora={"rank": 4, "alpha": 8}, prompts="chat")
    reads = adapter.for_exported(llava)  # type: ignore[attr-defined]
    assert (reads.path, reads.has_lora, reads.prompts, reads.lost) == (str(llava), False, "chat", None)


def test_lora_weights_say_where_their_model_is_unless_it_is_lost(
    llava: Path, other_llava: Path, tmp_path: Path
) -> None:
    lora = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    for known, named, read in (
        ("/gone", str(llava), llava),
        (str(other_llava), str(llava), llava),
        (str(llava), "/gone", llava),
    ):
        (tmp_path / "adapter_config.json").write_text(json.dumps({**lora, "base_model_name_or_path": named}))
        adapter = component("adapter", "llava", path=known, lora={"rank": 4, "alpha": 8})
        reads = adapter.for_exported(tmp_path)  # type: ignore[attr-defined]
        assert (reads.path, reads.has_lora) == (str(read), True)


def test_adapter_without_a_place_says_so(tmp_path: Path) -> None:
    from mdpo_core import ModelAdapter

    digits = component("adapter", "digits")
    assert isinstance(digits, ModelAdapter)
    assert digits.lost is None
    for change in (lambda: ModelAdapter.at(digits, "x"), lambda: ModelAdapter.name_base(digits, tmp_path, "x")):
        with pytest.raises(RecipeError, match="the adapter 'digits'"):
            change()
