"""Model folders with changed files: refused by name, or loaded and the same model, in bounded time."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.llava_adapter import adapter, example, logits
from support.effort import THOROUGH, num_examples
from support.explained import is_explained
from support.mutations import write_changed

from mdpo_core import MdpoError, Placement

FILES = (
    *("config.json", "generation_config.json", "model.safetensors", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
)
_SECONDS = 20.0


@pytest.fixture(scope="module")
def sound(llava: Path, photographs: Path) -> Mapping[str, torch.Tensor]:
    """The logits of the unchanged folder, for both kinds of prompts."""
    found = {prompts: _loaded_or_refused(llava, photographs, prompts) for prompts in ("ready", "chat")}
    return {prompts: each for prompts, each in found.items() if isinstance(each, torch.Tensor)}


@pytest.mark.filterwarnings("ignore")  # what libraries say of odd files
@settings(
    max_examples=num_examples(12, 400),
    derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), name=st.sampled_from(FILES), prompts=st.sampled_from(["ready", "chat"]))
def test_a_changed_folder_is_refused_by_name_or_works(
    data: st.DataObject, name: str, prompts: str, llava: Path, photographs: Path, sound: Mapping[str, torch.Tensor]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(llava, Path(temporary) / "model")
        write_changed(data.draw, folder / name)
        start = time.process_time()
        found = _loaded_or_refused(folder, photographs, prompts)
        assert time.process_time() - start < _SECONDS
        _require_no_silent_change(found, sound[prompts], llava / name, folder / name)


LONG = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 8}
# What earlier runs of the test above found: a change without a word, or another error.
FOUND: tuple[tuple[str, tuple[str, ...], object], ...] = (
    ("processor_config.json", ("image_processor", "resample"), "x"),
    ("processor_config.json", ("image_processor", "rescale_factor"), [0.5]),
    ("processor_config.json", ("image_processor", "do_rescale"), {}),
    ("processor_config.json", ("image_processor", "do_resize"), 0),
    ("config.json", ("text_config", "rope_parameters"), {**LONG, "short_factor": [1.0], "long_factor": [1.0]}),
    ("tokenizer.json", ("model", "dropout"), 0.999),
    ("tokenizer.json", ("normalizer",), {"type": "Precompiled", "precompiled_charsmap": None}),
)


@pytest.mark.filterwarnings("ignore")  # what libraries say of odd files
@pytest.mark.parametrize(("name", "path", "value"), FOUND)
def test_what_was_found_is_refused_by_name(
    name: str, path: tuple[str, ...], value: object, llava: Path, photographs: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(llava, tmp_path / "model")
    content = json.loads((folder / name).read_text())
    part = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (folder / name).write_text(json.dumps(content))
    found = _loaded_or_refused(folder, photographs, "ready")
    assert isinstance(found, str)
    assert str(folder) in found


def _require_no_silent_change(found: torch.Tensor | str, sound: torch.Tensor, before: Path, after: Path) -> None:
    """A refusal names the folder or the row; what loads is the same model, or ``after`` says that it is another."""
    if isinstance(found, str):
        assert str(after.parent) in found or "example '1'" in found
    elif not is_explained(before, after):
        assert torch.equal(found, sound)


def _loaded_or_refused(folder: Path, photographs: Path, prompts: str) -> torch.Tensor | str:
    """The logits of the model in a folder, or why it is refused."""
    made = adapter(folder, prompts=prompts)
    try:
        made.check()
        prompt = made.encoder().encode_prompt(example(photographs))
        return logits(made.load(Placement()), prompt)
    except MdpoError as error:
        return str(error)
