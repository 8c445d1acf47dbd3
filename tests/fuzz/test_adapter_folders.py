"""Adapter folders with changed files: refused by name, or put on and the same model, in bounded time."""

from __future__ import annotations

import shutil
import tempfile
import time
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

LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
_SECONDS = 15.0


@pytest.fixture(scope="module")
def exported(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as a run exports it."""
    folder = tmp_path_factory.mktemp("exported") / "final"
    torch.manual_seed(0)
    model = adapter(llava, lora=LORA).load(Placement())
    with torch.no_grad():
        for name, value in model.module.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.2)
    model.export(folder)
    return folder


@pytest.fixture(scope="module")
def sound(exported: Path, llava: Path, photographs: Path) -> torch.Tensor:
    """The logits with the unchanged adapter."""
    found = _put_on_or_refused(exported, llava, photographs)
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.filterwarnings("ignore")  # what libraries say of odd files
@settings(
    max_examples=num_examples(10, 300),
    derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), name=st.sampled_from(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]))
def test_a_changed_folder_is_refused_by_name_or_works(
    data: st.DataObject, name: str, exported: Path, llava: Path, photographs: Path, sound: torch.Tensor
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(exported, Path(temporary) / "final")
        write_changed(data.draw, folder / name)
        start = time.process_time()
        found = _put_on_or_refused(folder, llava, photographs)
        assert time.process_time() - start < _SECONDS
        if isinstance(found, str):
            assert str(folder) in found or "example '1'" in found
        elif not is_explained(exported / name, folder / name):
            assert torch.equal(found, sound)


def _put_on_or_refused(folder: Path, llava: Path, photographs: Path) -> torch.Tensor | str:
    """The logits of the model with the adapter in a folder, or why that is refused."""
    made = adapter(llava, lora=LORA)
    try:
        made.check_exported(folder)
        encoder, model = made.load_exported(folder, Placement())
        return logits(model, encoder.encode_prompt(example(photographs)))
    except MdpoError as error:
        return str(error)
