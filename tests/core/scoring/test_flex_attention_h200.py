"""FlexAttention, forward and backward, compiles to machine code for an H200, without one.

Needs g++ and Triton, which torch for CPUs does not bring (200 MB; 3.7.1 goes with torch 2.13):

    pip install --no-deps --target FOLDER triton==3.7.1
    MDPO_TRITON=FOLDER pytest -m nightly tests/core/scoring/test_flex_attention_h200.py

That the kernels are right is for tests on a GPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.paths import ROOT

SOURCE = ROOT / "tests" / "support" / "pretended" / "cuda_guard.cpp"
SHARED_MEMORY = 232_448  # bytes for one block of threads
INSTALL = "pip install --no-deps --target FOLDER triton==3.7.1, and set MDPO_TRITON=FOLDER"
pytestmark = pytest.mark.nightly(reason="a run tries the kernel where it trains; this is about the code for an H200")


def missing() -> str:
    """Why it cannot be compiled here."""
    if torch.version.cuda is not None:
        return "this torch has CUDA: the tests with the marker gpu run the kernel"
    if shutil.which("g++") is None:
        return "there is no g++"
    folder = os.environ.get("MDPO_TRITON")
    if folder is not None and not Path(folder, "triton").is_dir():
        return f"MDPO_TRITON={folder} has no folder triton: {INSTALL}"
    if folder is None and importlib.util.find_spec("triton") is None:
        return f"there is no Triton: {INSTALL}"
    return ""


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets torch handle fake tensors on CUDA devices."""
    library = tmp_path_factory.mktemp("guard") / "cuda_guard.so"
    torch_folder = Path(torch.__file__).parent
    paths = [f"-I{torch_folder}/include", f"-L{torch_folder}/lib", f"-Wl,-rpath,{torch_folder}/lib"]
    options = ["-O1", "-shared", "-fPIC", "-std=c++20", "-lc10", "-ltorch_cpu"]
    subprocess.run(["g++", str(SOURCE), "-o", str(library), *paths, *options], check=True)
    return library


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize(
    ("dtype", "heads", "kv_heads", "dim"),
    [("bfloat16", 32, 32, 128), ("bfloat16", 28, 4, 128), ("float16", 32, 8, 64), ("float32", 32, 32, 128)],
    ids=["LLaVA-1.5-7B", "Qwen2.5-VL-7B", "narrow heads", "float32"],
)
def test_it_compiles_for_an_h200(dtype: str, heads: int, kv_heads: int, dim: int, guard: Path, tmp_path: Path) -> None:
    folders = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests"), *filter(None, [os.environ.get("MDPO_TRITON")])]
    environment = {
        **os.environ,
        "LD_PRELOAD": str(guard),
        "PYTHONPATH": os.pathsep.join(folders),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
        "TRITON_CACHE_DIR": str(tmp_path / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    command = [sys.executable, "-m", "support.pretended.compile_flex", dtype, str(heads), str(kv_heads), str(dim)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kernels = {kernel["name"]: kernel for kernel in json.loads(done.stdout.splitlines()[-1])}
    forward = kernels["triton_tem_fused_flex_attention_0"]
    backward = kernels["triton_tem_fused_flex_attention_backward_1"]
    for kernel in kernels.values():
        assert kernel["target"] == "sm_90"
        assert kernel["shared"] <= SHARED_MEMORY
        assert kernel["code"] > 0
    if dtype == "bfloat16":  # as recipes for GPUs compute
        assert forward["stack"] == 0
        assert backward["stack"] <= 1024
