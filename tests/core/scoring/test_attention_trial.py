"""A run tries FlexAttention before its first step. Here torch's own runs uncompiled, which has no backward on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from mdpo_vlm.forward.model import VlmModel
from support.oracles.plain_attention import attend_as, right
from support.paths import RECIPES
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.nn.attention.flex_attention import flex_attention as torchs_own

from mdpo_core import EncodedImage, Packed, World, load_recipe, run
from mdpo_core.scoring import attention, attention_trial, flex_attention
from mdpo_core.scoring.attention import auto_attention, sdpa_attention
from mdpo_core.scoring.attention_trial import AttentionTrial, failure_of_flex

ROW = torch.zeros(1, 60, dtype=torch.long)
PACKED = Packed(ROW, ROW, ((20, 5, 6), (19, 10)), auto_attention)


def states(seed: int = 0, **kind: Any) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(1, heads, 60, 16).to(**kind) for heads in (4, 2, 2)]


def uncompiled(*inputs: Tensor, **options: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        attended: Any = torchs_own(*inputs, **options)
    return attended


@pytest.fixture(autouse=True)
def flex_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU as if it were a GPU."""
    for module in (attention, attention_trial):
        monkeypatch.setattr(module, "takes_flex", lambda query: True)
    monkeypatch.setattr(flex_attention, "_kernel", lambda: uncompiled)


def like(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An attention in the place of FlexAttention."""
    return lambda query, key, value, packed, scale=None: compute(query, key, value, packed, scale)


def test_an_attention_that_fails_in_backward_only_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    trial, parts = AttentionTrial(auto_attention, torch.float32), states()
    torch.testing.assert_close(trial.attention(*parts, PACKED), sdpa_attention(*parts, PACKED))
    assert "backward" in trial.reason
    assert trial.outcome(World()) is sdpa_attention
    [record] = [each for each in caplog.records if each.name.startswith("mdpo")]
    assert record.getMessage().startswith(f"FlexAttention cannot be used here ({trial.reason}); this run takes SDPA")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_attention_that_works_is_taken_in_silence(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = like(attend_as(right))
    monkeypatch.setattr(attention_trial, "flex_attention", plain)
    trial = AttentionTrial(plain, dtype)
    trial.attention(*states(), PACKED)
    assert trial.outcome(World()) is plain
    assert not caplog.records


def test_wrong_results_or_gradients_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sees_more = attend_as(lambda query, key: query.group == key.group and key.place <= query.place)
    monkeypatch.setattr(attention_trial, "flex_attention", like(sees_more))
    assert "its results differ by" in failure_of_flex(states(), PACKED, None)

    def without_gradient(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None) -> Tensor:
        right_values = attend_as(right)(query, key, value, packed, scale)
        return right_values.detach() + 0.5 * (right_values - right_values.detach())

    monkeypatch.setattr(attention_trial, "flex_attention", like(without_gradient))
    assert "its results differ by 50%" in failure_of_flex(states(), PACKED, None)


def test_all_processes_take_sdpa_if_one_has_to(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(World, "gather", lambda self, reason: [reason, "no compiler"])
    for rank in range(2):
        assert AttentionTrial(auto_attention, torch.float32).outcome(World(rank=rank, size=2)) is sdpa_attention
        assert len(caplog.records) == 1  # from the main process


@pytest.mark.parametrize(
    ("capability", "dtype", "refused"),
    [((7, 5), torch.bfloat16, True), ((8, 0), torch.bfloat16, False), ((7, 5), torch.float32, False)],
)
def test_gpus_before_ampere_do_not_take_bfloat16(
    capability: tuple[int, int], dtype: torch.dtype, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(attention_trial, "has_triton_package", lambda: True)
    monkeypatch.setattr(attention_trial, "_with_gradients", lambda *inputs: [torch.ones(1)])
    found = failure_of_flex(on_cuda(dtype), PACKED, None)
    assert bool(found) == refused
    assert ("Ampere" in found) == refused


class OnCuda(Tensor):
    device = torch.device("cuda", 0)


def on_cuda(dtype: torch.dtype) -> list[Tensor]:
    return [torch.Tensor._make_subclass(OnCuda, part) for part in states(dtype=dtype)]


def test_without_triton_a_run_on_cuda_says_so_and_takes_sdpa(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(attention_trial, "has_triton_package", lambda: False)
    trial = AttentionTrial(auto_attention, torch.float32)
    trial.reason = failure_of_flex(on_cuda(torch.float32), PACKED, None)
    assert trial.outcome(World()) is sdpa_attention
    assert caplog.messages == [
        "FlexAttention cannot be used here (Triton, which compiles it, is not installed: pip install triton); this run "
        "takes SDPA, which gives the same numbers and needs more time and memory"
    ]


def test_the_reason_for_a_failed_compilation_is_told_without_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def does_not_compile(*inputs: Any, **options: Any) -> Tensor:
        raise TorchDynamoException("LoweringException: no kernel fits\nmore lines")

    monkeypatch.setattr(flex_attention, "_kernel", lambda: does_not_compile)
    assert failure_of_flex(states(), PACKED, None) == "LoweringException: no kernel fits"


@pytest.mark.long
def test_a_run_without_a_working_kernel_trains_by_sdpa(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    computed = VlmModel.packed_hidden_states

    def record(self: VlmModel, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        asked.append(packed.attention)
        return computed(self, packed, images)

    monkeypatch.setattr(VlmModel, "packed_hidden_states", record)
    assert run(load_recipe(RECIPES / "llava_mdpo.yaml", [*small, "train.epochs=1"])).final.is_dir()
    assert len(asked) > 1
    assert asked[0] is not sdpa_attention
    assert set(asked[1:]) == {sdpa_attention}


def test_gradients_that_are_not_numbers_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([[torch.ones(2), torch.full((2,), torch.nan)], [torch.ones(2), torch.ones(2)]])
    monkeypatch.setattr(attention_trial, "_with_gradients", lambda *_: next(found))
    assert "differ" in failure_of_flex(states(), PACKED, None)
