"""Tries FlexAttention before the first step, forward and backward; a run in which it fails takes SDPA."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.utils._triton import has_triton_package

from mdpo_core.errors import MdpoError, first_line
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.attention import ATTENTIONS, sdpa_attention, takes_flex
from mdpo_core.scoring.flex_attention import flex_attention
from mdpo_core.types.layout import Attention, Packed

# The distance between the two attentions, relative to the norm. Rounding to bfloat16 gives less than 0.01.
_LIMIT = 0.05
_AMPERE = (8, 0)


class AttentionTrial:
    """A run's attention, which is tried on the first row that it is given if it is FlexAttention.

    ``chosen``: the attention that the recipe names. ``dtype``: the type in which the run computes. ``reason``: why
    FlexAttention cannot be used; empty if it can, or is not asked for.
    """

    def __init__(self, chosen: Attention, dtype: torch.dtype) -> None:
        self.reason = ""
        self._chosen = chosen
        self._dtype = dtype
        self._begun = False

    @classmethod
    def of(cls, recipe: Recipe) -> AttentionTrial:
        """The trial of the attention that a recipe names, in its backend's arithmetic."""
        return cls(ATTENTIONS[recipe.scoring.attention], getattr(torch, recipe.backend.arithmetic))

    @property
    def attention(self) -> Attention:
        """The attention for the forward in which it is tried."""
        return sdpa_attention if self._chosen is sdpa_attention else self._attend

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float | None = None) -> Tensor:
        if not self._begun and takes_flex(query):
            self._begun = True
            states = [part.detach().to(self._dtype) for part in (query, key, value)]
            self.reason = failure_of_flex(states, packed, scale)
        attend = sdpa_attention if self.reason else self._chosen
        return attend(query, key, value, packed, scale)

    def outcome(self, world: World) -> Attention:
        """The attention for the whole run, the same in all processes. The main process warns if it is SDPA."""
        reasons = [reason for reason in world.gather(self.reason) if reason]
        if not reasons:
            return self._chosen
        if world.is_main:
            logging.getLogger(__name__).warning(
                "FlexAttention cannot be used here (%s); this run takes SDPA, which gives the same numbers and needs "
                "more time and memory",
                reasons[0],
            )
        return sdpa_attention


def failure_of_flex(states: list[Tensor], packed: Packed, scale: float | None) -> str:
    """Why FlexAttention cannot compute these query, key and value, and their gradients; empty if it can."""
    device, dtype = states[0].device, states[0].dtype
    if device.type == "cuda" and dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) < _AMPERE:
        # torch would leave the kernel uncompiled there, with a number for every pair of tokens.
        return "it is not compiled for bfloat16 on GPUs before NVIDIA's Ampere"
    if device.type == "cuda" and not has_triton_package():
        return "Triton, which compiles it, is not installed: pip install triton"
    try:
        ours = _with_gradients(flex_attention, states, packed, scale)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers raise anything
        # The remedy of a failed compilation is what the run does now.
        return first_line(error.__cause__ if isinstance(error, MdpoError) and error.__cause__ else error)
    plain = _with_gradients(sdpa_attention, states, packed, scale)
    distances = [_distance(one, other) for one, other in zip(ours, plain, strict=True)]
    if all(distance <= _LIMIT for distance in distances):  # false for nan, too
        return ""
    return f"its results differ by {max(distances):.0%} from those of SDPA, or are not numbers"


def _with_gradients(attend: Attention, states: list[Tensor], packed: Packed, scale: float | None) -> list[Tensor]:
    """What an attention gives, and the gradients of its squares for query, key and value."""
    with torch.enable_grad(), torch.autocast(states[0].device.type, enabled=False):
        inputs = [part.clone().requires_grad_() for part in states]
        query, key, value = inputs
        attended = attend(query, key, value, packed, scale)
        return [attended.detach(), *torch.autograd.grad(attended.float().square().sum(), inputs)]


def _distance(ours: Tensor, plain: Tensor) -> float:
    ours, plain = ours.float(), plain.float()
    return float((ours - plain).norm() / plain.norm().clamp(min=1e-30))
