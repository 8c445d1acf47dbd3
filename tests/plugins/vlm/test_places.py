"""Where an adapter finds its model: by a relative path, from any folder, at another place, or not any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, ModelAdapter, RecipeError, component

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


def naming(folder: Path, name: str) -> Path:
    """A folder with the options of an adapter that calls its model ``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**LORA, "base_model_name_or_path": name}))
    return folder


def continuing(path: Path, **options: Any) -> ModelAdapter:
    made = component("adapter", "llava", path=str(path), continue_lora=True, lora={"rank": 4, "alpha": 8}, **options)
    assert isinstance(made, ModelAdapter)
    return made


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
    for known, named, read in (
        ("/gone", str(llava), llava),
        (str(other_llava), str(llava), llava),
        (str(llava), "/gone", llava),
    ):
        adapter = component("adapter", "llava", path=known, lora={"rank": 4, "alpha": 8})
        reads = adapter.for_exported(naming(tmp_path, named))  # type: ignore[attr-defined]
        assert (reads.path, reads.has_lora) == (str(read), True)


def test_adapter_without_a_place_says_so(tmp_path: Path) -> None:
    from mdpo_core import ModelAdapter

    digits = component("adapter", "digits")
    assert isinstance(digits, ModelAdapter)
    assert digits.lost is None
    for change in (lambda: ModelAdapter.at(digits, "x"), lambda: ModelAdapter.name_base(digits, tmp_path, "x")):
        with pytest.raises(RecipeError, match="the adapter 'digits'"):
            change()


def test_a_relative_name_of_the_model_starts_where_the_command_runs_or_else_in_the_adapters_folder(
    llava: Path, other_llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside").symlink_to(llava)
    tuned = naming(tmp_path / "sft", "../beside")
    monkeypatch.chdir(tmp_path.parent)
    made = continuing(tuned)
    assert made.folder() == llava  # type: ignore[attr-defined]
    assert made.in_full().base == str(llava)  # type: ignore[attr-defined]
    assert made.for_exported(tuned).path == str(llava)  # type: ignore[attr-defined]
    # peft looks where the command runs, and so this comes first
    (tmp_path / "work" / "inner").mkdir(parents=True)
    (tmp_path / "work" / "beside").symlink_to(other_llava)
    monkeypatch.chdir(tmp_path / "work" / "inner")
    assert Path(made.folder()).resolve() == other_llava  # type: ignore[attr-defined]
    assert continuing(tuned, base=str(llava)).folder() == llava  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "../gone",
            r"'\.\./gone', which is not there, neither where the command runs nor in the adapter's folder; s",
        ),
        (
            "some/model",
            r"nor in the adapter's folder \(the folder does not exist, and the hub could not be .*\); say",
        ),
        ("/gone", r"'/gone', which is not there; say where the model is: model.base"),
        ("x" * 300, r"x', which is not there, neither where"),
        ("../gone\0", r"which is not there, neither where"),
    ],
)
def test_a_model_that_is_nowhere_is_a_sentence(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"adapter_config.json: base_model_name_or_path is .*{told}"):
        continuing(naming(tmp_path / "sft", name)).folder()  # type: ignore[attr-defined]
