"""DeepSpeed: the backend's contract at every stage, two processes against one, what is saved by one for the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mdpo_deepspeed import DeepSpeed
from pydantic import ValidationError
from safetensors.torch import load_file
from support.paths import TESTS
from support.processes.deepspeed_jobs import TRAIN, Job, write_jobs
from torch import Tensor

from mdpo_core import RecipeError, SavedEngineState, World
from mdpo_core.testing import check_backend

JOBS = TESTS / "support/processes/deepspeed_jobs.py"
LOCAL = {"backend": "local", "device": "cpu"}
# LoRA of two kinds, what trains whole beside it, and three learning rates; all weights, at three learning rates.
PARTS = {
    "options": {
        "lora": {"rank": 4, "dropout": 0.0, "dora": True, "save": ["lm_head", "*norm"]},
        "parts": {
            "vision": {"train": "lora", "lora": {"rank": 2, "dropout": 0.0, "dora": True}, "learning_rate": 3e-3},
            "projector": {"train": "full", "learning_rate": 1e-4},
        },
    }
}
RATES = {
    "lora": False,
    "freeze": (),
    "options": {"parts": {"vision": {"learning_rate": 1e-4}, "projector": {"learning_rate": 3e-3}}},
}
LORA, FULL = {"lora": True}, {"lora": False}
TOLERANCES = {"fp32": 1e-5, "bf16": 3e-2}
no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="fp16 and devices are there")


def zero(stage: int, precision: str = "fp32", **options: Any) -> dict[str, Any]:
    """A backend that shares out even the smallest weights."""
    config = {"zero_optimization": {"stage3_param_persistence_threshold": 0}} if stage == 3 else {}
    return {"backend": "deepspeed", "zero_stage": stage, "precision": precision, "config": config, **options}


@pytest.mark.parametrize(
    ("stage", "precision"),
    [pytest.param(2, "fp32", marks=pytest.mark.long), (3, "fp32"), pytest.param(3, "bf16", marks=pytest.mark.long)],
)
def test_zero_stages_2_and_3_keep_the_backend_contract(stage: Any, precision: Any) -> None:
    """The stages that share gradients and weights among processes keep the contract."""
    check_backend(DeepSpeed(zero_stage=stage, precision=precision), tolerance=TOLERANCES[precision])


@pytest.mark.long
@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (1, "fp32"), (0, "bf16"), (1, "bf16"), (2, "bf16")])
def test_every_other_stage_keeps_the_contract(stage: Any, precision: Any) -> None:
    check_backend(DeepSpeed(zero_stage=stage, precision=precision), tolerance=TOLERANCES[precision])


@pytest.mark.parametrize(
    "options",
    [
        {"zero_stage": 1, "offload": "optimizer"},
        {"zero_stage": 2, "offload": "optimizer"},
        {"zero_stage": 3, "offload": "optimizer"},
        {"zero_stage": 3, "offload": "optimizer_and_parameters"},
        {"zero_stage": 3, "config": {"zero_optimization": {"sub_group_size": 10}}},
        {"zero_stage": 2, "config": {"zero_optimization": {"reduce_bucket_size": 20, "round_robin_gradients": True}}},
        {"zero_stage": 1, "config": {"zero_optimization": {"contiguous_gradients": False}}},
    ],
)
@pytest.mark.long
def test_other_ways_to_share_out_and_raw_options_keep_it_too(options: Any) -> None:
    check_backend(DeepSpeed(precision="fp32", **options))


def test_nothing_is_compiled() -> None:
    from deepspeed.comm.torch import build_shm_op
    from deepspeed.ops import __compatible_ops__ as operators
    from mdpo_deepspeed.process import _COMPILED, prepare

    # Both are names of DeepSpeed's own: under others in a later version, a compiler would be run.
    assert _COMPILED in operators
    prepare()
    assert build_shm_op() is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"train_batch_size": 8}, "train_batch_size = 8 .* decided by train.batch_size and train.micro_batch_size"),
        ({"gradient_accumulation_steps": 2}, "decided by train.batch_size"),
        ({"gradient_clipping": 0.5}, "gradient_clipping = 0.5 .* decided by train.max_grad_norm"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer = .* decided by train.learning_rate"),
        ({"scheduler": {"type": "WarmupLR"}}, "decided by train.schedule"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage = 3 .* decided by backend.zero_stage"),
        ({"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}, "device = 'nvme' .* by backend.offload"),
        ({"fp16": {"enabled": True}}, "fp16.enabled = True .* decided by backend.precision"),
        ({"activation_checkpointing": {}}, "decided by scoring.activation_checkpointing"),
        ({"bf16": {"enabled": True}, "amp": {}}, "bf16.enabled = True .*; amp = {} "),
    ],
)
def test_raw_option_the_recipe_decides_is_refused_naming_both(config: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeepSpeed(config=config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"zero_optimization": {"bucket": 1}}, "zero_optimization|bucket: Extra inputs are not permitted"),
        (
            {"zero_optimisation": {}},
            "backend.config: DeepSpeed has no option 'zero_optimisation'; .* 'zero_optimization'",
        ),
    ],
)
def test_a_raw_option_that_deepspeed_does_not_know_is_refused(config: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DeepSpeed(config=config).check(TRAIN, World())


def test_raw_options_of_deepspeed_s_own_are_taken() -> None:
    config = {"zero_optimization": {"overlap_comm": True}, "comms_logger": {"enabled": False}, "flops_profiler": {}}
    backend = DeepSpeed(config=config)
    backend.check(TRAIN, World())
    options = backend._options(TRAIN)
    assert options["zero_optimization"] == {"stage": 2, "overlap_comm": True}


@pytest.mark.parametrize(("offload", "stage"), [("optimizer", 0), ("optimizer_and_parameters", 2)])
def test_offloading_needs_a_stage_that_shares_out(offload: Any, stage: Any) -> None:
    with pytest.raises(ValidationError, match=f"offload: {offload} needs zero_stage . or more, found {stage}"):
        DeepSpeed(offload=offload, zero_stage=stage)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(RecipeError, match=r'deepspeed is not installed; pip install "mdpo\[deepspeed\]"'):
        DeepSpeed().check(TRAIN, World())


@no_gpu
def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(RecipeError, match=r"backend.precision: fp16 needs a GPU, but there is none; use bf16"):
        DeepSpeed(precision="fp16").check(TRAIN, World())


class Jobs:
    """Jobs by name, in a folder."""

    def __init__(self, folder: Path, **inputs: Path) -> None:
        self.folder = folder
        self._inputs = {name: str(path) for name, path in inputs.items()}

    def job(self, name: str, backend: dict[str, Any], **options: Any) -> Job:
        (self.folder / name).mkdir(exist_ok=True)
        return Job(str(self.folder / name), **self._inputs, backend=backend, **options)

    def resumed(self, name: str, of: str, backend: dict[str, Any], **options: Any) -> Job:
        return self.job(name, backend, start=str(self.folder / of / "step-2"), first_step=2, **options)

    def in_two_processes(self, jobs: list[Job]) -> None:
        file = write_jobs(jobs, self.folder / "jobs.json")
        words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(JOBS), str(file)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=_environment())
        assert done.returncode == 0, done.stderr

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Weights and moments at the end."""
        state = SavedEngineState(sorted((self.folder / name / "step-4").iterdir()))
        return {key: state.read(key, state._shapes[key]) for key in state}

    def metrics(self, name: str) -> Any:
        return json.loads((self.folder / name / "metrics.json").read_text())

    def require_alike(self, name: str, other: str) -> None:
        """Losses, gradient norms and final weights to 1e-5."""
        steps = self.metrics(name)
        for found, wanted in zip(steps, self.metrics(other)[-len(steps) :], strict=True):
            assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
            assert found["norm"] == pytest.approx(wanted["norm"], rel=1e-5)
        tensors, expected = self.tensors(name), self.tensors(other)
        compared = [key for key in expected if key.startswith("weight:") and _is_trained(key, expected)]
        assert compared
        for key in compared:
            distance = (tensors[key] - expected[key]).norm() / expected[key].norm()
            assert distance <= 1e-5, key

    def require_equal(self, name: str, other: str) -> None:
        tensors, expected = self.tensors(name), self.tensors(other)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in expected)


def _is_trained(key: str, tensors: dict[str, Tensor]) -> bool:
    """Whether its gradient is more than rounding, which AdamW would make a step of like any other's."""
    # A constant added to all keys changes no attention.
    return f"exp_avg{key.removeprefix('weight')}" in tensors and not key.endswith("k_proj.bias")


def _environment() -> dict[str, str]:
    places = [str(JOBS.parent.parent), str(JOBS.parent.parent / "plugins")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, llava: Path, pairs: Path, photographs: Path) -> Jobs:
    """Two processes: LoRA and everything by ZeRO-2 and 3, bfloat16. One process: the local backend, in float32."""
    jobs = Jobs(tmp_path_factory.mktemp("jobs"), model=llava, pairs=pairs, images=photographs)
    for name, options in (("lora", LORA), ("full", FULL), ("parts", PARTS), ("rates", RATES)):
        jobs.job(f"{name}-local", LOCAL, **options).run()
    jobs.in_two_processes(
        [
            jobs.job("lora-2", zero(2), saved=(2, 4)),
            jobs.resumed("lora-2-resumed", "lora-2", zero(2)),
            jobs.job("lora-3", zero(3), generates=True),
            jobs.job("full-2", zero(2), saved=(2, 4), **FULL),
            jobs.resumed("full-2-resumed", "full-2", zero(2), **FULL),
            jobs.job("full-3", zero(3), lora=False, recomputed=True),
            jobs.job("lora-3-plain", zero(3), share_prefix=False),
            jobs.job("lora-3-offloaded", zero(3, offload="optimizer_and_parameters"), **LORA),
            jobs.job("bf16-3", zero(3, "bf16"), saved=(2, 4)),
            jobs.resumed("bf16-3-resumed", "bf16-3", zero(3, "bf16")),
            jobs.job("parts-2", zero(2), saved=(2, 4), **PARTS),
            jobs.resumed("parts-2-resumed", "parts-2", zero(2), **PARTS),
            jobs.job("parts-3", zero(3), **PARTS),
            jobs.job("rates-3", zero(3), **RATES),
            jobs.job("rates-1", zero(1), **RATES),
        ]
    )
    return jobs


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        *("lora-2", "lora-3", "lora-3-plain", "lora-3-offloaded", "full-2", "full-3"),
        *("parts-2", "parts-3", "rates-1", "rates-3"),
    ],
)
def test_two_processes_learn_what_one_does(name: str, done: Jobs) -> None:
    done.require_alike(name, f"{name.partition('-')[0]}-local")


@pytest.mark.long
@pytest.mark.parametrize("name", ["lora-2", "parts-2", "full-2", "bf16-3"])
def test_two_processes_resume_to_the_bit(name: str, done: Jobs) -> None:
    done.require_equal(f"{name}-resumed", name)


@pytest.mark.long
def test_a_checkpoint_of_bfloat16_holds_the_float32_weights(done: Jobs) -> None:
    weights = [value for key, value in done.tensors("bf16-3").items() if key.startswith("weight:")]
    assert any(not torch.equal(value, value.bfloat16().float()) for value in weights)


@pytest.mark.long
@pytest.mark.parametrize("backend", [zero(3), LOCAL], ids=["another stage", "local"])
def test_what_two_processes_saved_is_resumed_by_one(backend: dict[str, Any], done: Jobs) -> None:
    done.resumed("elsewhere", "lora-2", backend).run()
    done.require_alike("elsewhere", "lora-local")


@pytest.mark.long
def test_each_number_is_saved_once_and_by_both_processes(done: Jobs) -> None:
    for name in ("lora-2", "lora-3", "full-3"):
        files = sorted((done.folder / name / "step-4").iterdir())
        sizes = [sum(value.numel() for value in load_file(file).values()) for file in files]
        assert sum(sizes) == sum(value.numel() for value in done.tensors(name).values())
        assert len(sizes) == 2
        assert max(sizes) <= 1.1 * min(sizes)


@pytest.fixture(scope="module")
def more(done: Jobs) -> Jobs:
    """The rest: stages 0 and 1, plain forwards and recomputed ones, bfloat16 by every stage, all weights."""
    jobs = []
    for stage in (0, 1, 2, 3):
        for name, options in (("lora", LORA), ("full", FULL)):
            if stage < 2:
                jobs.append(done.job(f"{name}-{stage}", zero(stage), saved=(2, 4), **options))
                jobs.append(done.resumed(f"{name}-{stage}-resumed", f"{name}-{stage}", zero(stage), **options))
        if stage < 3:
            jobs.append(done.job(f"bf16-{stage}", zero(stage, "bf16"), saved=(2, 4)))
            jobs.append(done.resumed(f"bf16-{stage}-resumed", f"bf16-{stage}", zero(stage, "bf16")))
    for name, options in (("lora", LORA), ("full", FULL)):
        jobs.append(done.job(f"{name}-3-recomputed", zero(3), **options, share_prefix=False, recomputed=True))
    jobs.append(done.job("full-3-plain", zero(3), **FULL, share_prefix=False))
    jobs.append(done.job("full-3-offloaded", zero(3, offload="optimizer_and_parameters"), **FULL))
    jobs.append(done.job("all-3", zero(3), lora=False, freeze=()))
    jobs.append(done.job("all-2", zero(2), lora=False, freeze=()))
    done.in_two_processes(jobs)
    done.job("all-local", LOCAL, lora=False, freeze=()).run()
    return done


ALIKE = [f"{name}-{stage}" for name in ("lora", "full") for stage in (0, 1)]
ALIKE += ["lora-3-recomputed", "full-3-recomputed", "full-3-plain", "full-3-offloaded"]
# These are DeepSpeed's options: our code is the same for all of them.
EVERY_STAGE = pytest.mark.nightly(reason="stages 2 and 3 with the same options are in `long`")


@EVERY_STAGE
@pytest.mark.parametrize("name", [*ALIKE, "all-2", "all-3"])
def test_every_stage_in_two_processes_learns_what_one_does(name: str, more: Jobs) -> None:
    more.require_alike(name, f"{name.partition('-')[0]}-local")


@EVERY_STAGE
@pytest.mark.parametrize("name", ["lora-0", "lora-1", "full-0", "full-1", *(f"bf16-{stage}" for stage in range(3))])
def test_every_stage_resumes_to_the_bit(name: str, more: Jobs) -> None:
    more.require_equal(f"{name}-resumed", name)
