"""An H200 for the compilers of a torch without CUDA: they write machine code for it, which nothing runs.

The process must have preloaded `cuda_guard.cpp`. Tensors on ``cuda:0`` must be fake ones.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

_CAPABILITY = (9, 0)
_SHARED_MEMORY = 232_448
_PROPERTIES = SimpleNamespace(
    name="NVIDIA H200",
    major=9,
    minor=0,
    total_memory=150_000_000_000,
    multi_processor_count=132,
    max_threads_per_multi_processor=2048,
    max_threads_per_block=1024,
    regs_per_multiprocessor=65536,
    warp_size=32,
    shared_memory_per_block=49_152,
    shared_memory_per_block_optin=_SHARED_MEMORY,
    shared_memory_per_multiprocessor=233_472,
    L2_cache_size=60 << 20,
    gcnArchName="",
    uuid="",
)


class Kernel(NamedTuple):
    """A compiled kernel.

    ``target``: the architecture. ``registers``: of 32 bits, for each thread. ``stack``: bytes of a thread's spilled
    registers. ``shared``: bytes of shared memory. ``code``: bytes of machine code.
    """

    name: str
    target: str
    registers: int
    stack: int
    shared: int
    code: int


class CompiledError(Exception):
    """Raised in place of running what was compiled."""


def set_up() -> list[Kernel]:
    """Pretend the card in this process, from now on. Gives the list of kernels, which grows as they are compiled."""
    kernels: list[Kernel] = []
    _show_to_torch()
    _show_to_triton()
    _compile_instead_of_running(kernels)
    return kernels


def _show_to_torch() -> None:
    from torch._dynamo import device_interface

    answers = {
        "get_device_properties": _PROPERTIES,
        "get_device_capability": _CAPABILITY,
        "device_count": 1,
        "current_device": 0,
        "get_rng_state": torch.empty(0),
        "set_rng_state": None,
        "_lazy_init": None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    for name, answer in {
        "is_available": True,
        "is_bf16_supported": True,
        "get_device_properties": _PROPERTIES,
        "device_count": 1,
        "current_device": 0,
        "get_compute_capability": 90,
    }.items():
        setattr(device_interface.CudaInterface, name, staticmethod(lambda *_, answer=answer, **__: answer))
    device_interface.caching_worker_device_properties["cuda"] = [_PROPERTIES]
    device_interface.caching_worker_current_devices["cuda"] = 0
    torch.version.cuda = "13.0"
    torch._C._cuda_getCurrentRawStream = lambda _: 0


def _show_to_triton() -> None:
    from torch._inductor.runtime import triton_helpers
    from torch.utils import _triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    numbers = {
        "max_shared_mem": _SHARED_MEMORY,
        "max_num_regs": 65536,
        "multiprocessor_count": 132,
        "warpSize": 32,
        "sm_clock_rate": 1_980_000,
        "mem_clock_rate": 3_201_000,
        "mem_bus_width": 6144,
    }
    driver.set_active(
        SimpleNamespace(
            get_current_target=lambda: GPUTarget("cuda", 90, 32),
            get_current_device=lambda: 0,
            get_active_torch_device=lambda: torch.device("cuda:0"),
            get_device_interface=lambda: torch.cuda,
            utils=SimpleNamespace(get_device_properties=lambda _: numbers),
        )
    )
    for name in ("has_triton", "triton_backend", "triton_hash_with_backend"):
        getattr(_triton, name).cache_clear()
    triton_helpers.set_driver_to_gpu = lambda: None


def _compile_instead_of_running(kernels: list[Kernel]) -> None:
    """Compile each kernel as soon as Inductor has written it."""
    from torch._inductor import async_compile, output_code
    from torch._inductor.codecache import PyCodeCache

    def triton(self: Any, kernel_name: str, source_code: str, device_str: str = "cuda") -> Any:
        kernel = getattr(PyCodeCache.load(source_code), kernel_name)
        kernel.precompile(warm_cache_only=True)
        kernels.extend(_measured(kernel_name, result.kernel) for result in kernel.compile_results)
        return SimpleNamespace()

    def run(self: Any, inputs: Any) -> Any:
        raise CompiledError

    torch._inductor.config.use_static_triton_launcher = False
    torch._functorch.config.force_non_lazy_backward_lowering = True
    async_compile.AsyncCompile.triton = triton
    output_code.CompiledFxGraph.__call__ = run


def _measured(name: str, compiled: Any) -> Kernel:
    """What Triton's own cuobjdump says about the machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [tool, "--dump-resource-usage", file.name]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {key: int(number) for key, number in re.findall(r"(REG|STACK):(\d+)", said)}
    target, code = f"sm_{compiled.metadata.target.arch}", len(compiled.asm["cubin"])
    return Kernel(name, target, found["REG"], found["STACK"], compiled.metadata.shared, code)
