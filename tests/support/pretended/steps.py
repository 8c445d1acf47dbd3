"""Two training steps of a small LLaVA on a device, and what they give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mdpo_local.engine import LocalEngine
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask

from mdpo_core import Batch, SavedEngineState, Scores, Train, TrainableScorer, World, component
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring import attention, attention_trial, flex_attention
from mdpo_core.scoring.attention import ATTENTIONS
from mdpo_core.scoring.attention_trial import AttentionTrial
from mdpo_core.scoring.reference import Cached
from mdpo_core.scoring.reference_store import CachedView, Shard
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.scoring.shared_prefix_check import require_shared_prefix
from mdpo_core.types.engine_state import write_state
from mdpo_core.types.layout import Attention
from support.builders.tiny_batches import Drawn, build_batch
from support.builders.tiny_models import Loaded, Tiny, build
from support.pretended.device import KIND, MixedDevicesError

ROWS = [Drawn((0,), [5, 6], [7, 8, 9], [5, 9]), Drawn((1, 0), [5, 6], [7, 8], [9]), Drawn((), [4], [5], [6, 7, 8])]
TRAIN = Train(learning_rate=1e-3, max_grad_norm=0.5)
# Kind, name and options of each term.
MDPO: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dpo": ("loss", "dpo", {}),
    "image": ("loss", "dpo", {"over": "chosen@crop"}),
    "anchor": ("anchor", "reward", {}),
}
# Statistics, with and without a reference, and a probe of the reference's layers.
MEASURED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tdpo": ("loss", "tdpo", {}),
    "wpo": ("loss", "wpo", {}),
    "masks": ("loss", "sparse_po", {}),
}


@dataclass(frozen=True)
class Case:
    """A way to train. ``half``: the type of autocast. ``cached``: the reference. ``fused``: AdamW as on CUDA."""

    tiny: Tiny = field(default_factory=lambda: Tiny("grouped", dropout=0.3))
    terms: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=lambda: MDPO)
    options: Scoring = field(default_factory=Scoring)
    autocast: bool = False
    half: torch.dtype = torch.bfloat16
    scales: bool = False
    cached: bool = False
    fused: bool = False


def take_steps(case: Case, device: str) -> dict[str, Tensor]:
    """Train, save, and train on; log-probs, norms, metrics and weights, by name."""
    torch.manual_seed(0)
    loaded = build.__wrapped__(case.tiny, case.options.activation_checkpointing)
    for model in (loaded.model, loaded.frozen):
        model.module.to(device)
    # The same kernel on all devices, so that their numbers can be compared.
    with sdpa_kernel(SDPBackend.MATH), _as_on_cuda(case):
        return _take_steps(case, loaded, device)


def _take_steps(case: Case, loaded: Loaded, device: str) -> dict[str, Tensor]:
    objective = Objective({label: component(kind, name, **rest) for label, (kind, name, rest) in case.terms.items()})
    batch = build_batch(ROWS, objective.reads.views, case.tiny)
    reference = _cached(batch) if case.cached else loaded.reference
    scorer = Scorer(loaded.model, objective.reads, reference, case.options).to(device)
    if case.options.share_prefix:
        scorer.use_attention(_tried(case, loaded, batch))
    autocast = case.half if case.autocast else None
    engine = LocalEngine(TrainableScorer(scorer, loaded.model), TRAIN, device, autocast, World(), scales=case.scales)
    _step(engine, objective, batch)
    with TemporaryDirectory() as folder:
        file = Path(folder, "state.safetensors")
        write_state(engine.state(), file)
        engine.restore(SavedEngineState([file]))
    found = _step(engine, objective, batch)
    assert all(value.device.type == torch.device(device).type for value in found.values())
    weights = {name: value for name, value in scorer.named_parameters() if value.requires_grad}
    return {name: value.detach().cpu() for name, value in (found | weights).items()}


def _tried(case: Case, loaded: Loaded, batch: Batch) -> Attention:
    """The attention, after the trials that a run begins with."""
    trial = AttentionTrial(ATTENTIONS[case.options.attention], case.half if case.autocast else case.tiny.dtype)
    require_shared_prefix("llava", loaded.model, batch, trial.attention)
    assert not trial.reason, trial.reason
    return trial.outcome(World())


def _step(engine: LocalEngine, objective: Objective, batch: Batch) -> dict[str, Tensor]:
    """What was on the device: log-probs and metrics."""
    scored = engine.forward(batch)
    outcome = objective(Scores.of_batch(scored, batch, objective.needs_tokens))
    engine.backward(outcome.loss.sum())
    meter = Meter()
    meter.add(outcome.values, outcome.counted)
    means = meter.means()
    norm = engine.step(TRAIN.learning_rate)
    assert math.isfinite(norm), norm
    assert means.keys() == outcome.values.keys()
    by_view = {f"policy {view}": tokens.values for view, tokens in scored.policy.items()}
    by_view |= {f"reference {view}": tokens.values for view, tokens in scored.reference.items()}
    return by_view | dict(outcome.values)


def _cached(batch: Batch) -> Cached:
    """A stored reference of small numbers."""
    views = {}
    for view, digests in batch.digests.items():
        lengths = torch.tensor([len(item.response) for item in batch.items[view]])
        of_rows = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(len(batch), -1)
        views[view] = CachedView(-torch.rand(int(lengths.sum())), lengths, of_rows)
    return Cached([[Shard(batch.ids, views)]], Path())


@contextmanager
def _as_on_cuda(case: Case) -> Iterator[None]:
    """Take what is taken on CUDA, on the pretended device as well."""
    with ExitStack() as patches:
        patches.enter_context(patch.object(flex_attention, "_kernel", lambda: _kernel))
        for module in (attention, attention_trial):
            patches.enter_context(patch.object(module, "takes_flex", lambda query: query.device.type == KIND))
        if case.fused:
            patches.enter_context(patch.object(torch.optim, "AdamW", _Fused))
        yield


class _Fused(torch.optim.AdamW):
    def __init__(self, *groups: Any, **options: Any) -> None:
        super().__init__(*groups, **options | {"fused": True})


def _kernel(query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask, scale: float | None, **_: Any) -> Tensor:
    """FlexAttention's kernel with a number for each pair of tokens. It refuses what that refuses."""
    assert query.dtype == key.dtype == value.dtype, "FlexAttention's backward refuses mixed types"
    blocks = (block_mask.kv_num_blocks, block_mask.kv_indices, block_mask.q_num_blocks, block_mask.full_kv_indices)
    if any(each.device != query.device for each in blocks):
        raise MixedDevicesError(f"FlexAttention on {query.device} was given from the CPU: blocks")
    place = torch.arange(query.shape[2], device=query.device)
    seen = block_mask.mask_mod(place[0], place[0], place[:, None], place)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale, enable_gqa=True)
