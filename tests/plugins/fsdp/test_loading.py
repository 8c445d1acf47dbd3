"""Only the main process reads the model; the others get what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.builders.small_llava import build_llava
from support.processes.parallel_jobs import Job, loading_bytes, require_alike, run_in_parallel

FSDP = {"name": "fsdp"}
LORA = {"lora": {"rank": 2, "dropout": 0.0}}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of 12 layers, which have most of its weights."""
    return build_llava(tmp_path_factory.mktemp("deep") / "llava", hidden=128, layers=12)


@pytest.fixture(scope="module")
def folder(deep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading")

    def job(name: str, **options: Any) -> Job:
        return Job(name, FSDP, {"path": str(deep), **LORA}, steps=(0,), counts=True, **options)

    run_in_parallel([job("sent"), job("everywhere", everywhere=True)], folder)
    return folder


@pytest.mark.long
def test_the_others_never_hold_the_model(deep: Path, folder: Path) -> None:
    model = sum(values.nbytes for values in load_file(deep / "model.safetensors").values())
    (read_by_main, _), (read, held) = loading_bytes(folder / "sent")
    assert read == 0 < model < read_by_main
    # Half of the layers, one whole layer, and what is in no layer.
    assert model / 2 < held < 0.65 * model
    assert loading_bytes(folder / "everywhere")[1][0] == read_by_main


@pytest.mark.long
def test_they_get_the_main_process_s_weights_to_the_bit(folder: Path) -> None:
    require_alike(folder / "sent", folder / "everywhere", tolerance=0)
