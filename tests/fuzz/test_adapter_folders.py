"""Adapter folders with changed files: refused by name or put on, in bounded time and with no other error."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders.llava_adapter import adapter
from support.effort import THOROUGH, num_examples
from support.mutations import write_changed

from mdpo_core import MdpoError, Placement

LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}
_SECONDS = 15.0


@pytest.fixture(scope="module")
def exported(llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter as a run exports it."""
    folder = tmp_path_factory.mktemp("exported") / "final"
    torch.manual_seed(0)
    adapter(llava, lora=LORA).load(Placement()).export(folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # what libraries say of odd files
@settings(
    max_examples=num_examples(10, 300),
    derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), name=st.sampled_from(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]))
def test_a_changed_folder_is_refused_by_name_or_works(
    data: st.DataObject, name: str, exported: Path, llava: Path
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(exported, Path(temporary) / "final")
        write_changed(data.draw, folder / name)
        start = time.process_time()
        refusal = _refusal(folder, llava)
        assert refusal is None or str(folder) in refusal
        assert time.process_time() - start < _SECONDS


def _refusal(folder: Path, llava: Path) -> str | None:
    made = adapter(llava, lora=LORA)
    try:
        made.check_exported(folder)
        made.load_exported(folder, Placement())
    except MdpoError as error:
        return str(error)
    return None
