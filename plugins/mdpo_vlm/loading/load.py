"""Load a model that is ready to train or to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from mdpo_core import Part, PartTraining, Placement
from mdpo_vlm.encoding.encoder import VlmEncoder
from mdpo_vlm.encoding.processors import numbers_of
from mdpo_vlm.families import UNKNOWN, Family
from mdpo_vlm.files.config import load_config, require_same_kind
from mdpo_vlm.files.folder import unfit
from mdpo_vlm.files.stored import require_stored
from mdpo_vlm.forward.attention import use_packed_attention
from mdpo_vlm.forward.called_once import call_once
from mdpo_vlm.forward.last_layer import trim_last_layer
from mdpo_vlm.forward.model import VlmModel
from mdpo_vlm.forward.recurrent import start_branches_from_prompts
from mdpo_vlm.forward.temperature import scale_by_position
from mdpo_vlm.forward.ways_in.cross_attention import keep_rows_apart
from mdpo_vlm.loading.continued import require_continued
from mdpo_vlm.loading.kernels import use_liger
from mdpo_vlm.loading.pretrained import read_in_4_bits, read_weights
from mdpo_vlm.loading.self_check import require_whole_forward
from mdpo_vlm.loading.shapes import without_weights
from mdpo_vlm.parts.adapter_folder import CONFIG, is_adapter, require_adapter
from mdpo_vlm.parts.continued import keep_start, read_continued
from mdpo_vlm.parts.four_bit_sketch import quantize_sketch
from mdpo_vlm.parts.idle import idle_parameters
from mdpo_vlm.parts.lora import add_lora, read_lora
from mdpo_vlm.parts.names import decoder_of


@dataclass(frozen=True)
class LoadPlan:
    """Everything that an adapter says about the model to load.

    ``folder`` contains the model in the layout of transformers; ``name`` is what exported adapters call it, and
    ``encoder_folder`` has the files of its tokenizer and processor. ``training`` says how each part trains.
    ``encoder`` makes the model's encoder; it is called only for a model whose family is unknown. ``kernels``: whose
    kernels the layers have, if not torch's. ``continued``: the folder of the adapter that is trained on, if one is.
    """

    folder: Path
    name: str
    encoder_folder: Path
    family: Family
    quantize: Literal["nf4"] | None
    training: Mapping[Part, PartTraining]
    encoder: Callable[[], VlmEncoder]
    kernels: Literal["liger"] | None = None
    continued: Path | None = None

    @property
    def has_lora(self) -> bool:
        """True if some part trains by LoRA."""
        return any(training.lora is not None for training in self.training.values())


def load_model(plan: LoadPlan, placement: Placement, *, trainable: bool) -> VlmModel:
    """Read the weights, and mark those that train. Raises `DataError` for weights that do not fit the model.

    Raises `RecipeError` for modules that cannot train as ``plan.training`` says, and `PluginError` for a model of an
    unknown family that mdpo computes differently from transformers.
    """
    # Under ZeRO-3, transformers cannot build a model without numbers. A run has checked it before.
    if plan.continued is not None and not is_deepspeed_zero3_enabled():
        require_continued(plan.continued, plan.folder, plan.family, plan.training)
    base = read_in_4_bits(plan.folder, placement) if plan.quantize else read_weights(plan.folder, placement)
    base.name_or_path = plan.name
    _change_forward(base, plan.family)
    if plan.kernels is not None:
        use_liger(base)
    if plan.family is UNKNOWN:
        require_whole_forward(base, _made(base, base, plan.encoder_folder, plan.family), plan.encoder())
    return _marked(base, plan, trainable)


def sketch_model(plan: LoadPlan, dtype: str, *, depth: int | None = None, trainable: bool = True) -> VlmModel:
    """What `load_model` gives, on torch's meta device, with ``depth`` layers in the language model.

    Reads no weights. Raises as `load_model` does for modules that cannot train.
    """
    with torch.device("meta"):
        base = without_weights(plan.folder, dtype, depth).eval().requires_grad_(False)
        if plan.quantize:
            quantize_sketch(decoder_of(base))
        _change_forward(base, plan.family)
        if plan.kernels is not None:
            use_liger(base)
        return _marked(base, plan, trainable)


def _change_forward(base: PreTrainedModel, family: Family) -> None:
    """Let the model take packed rows, unless its family cannot.

    Modules are called equally often in all processes, and rows of a batch stay apart.
    """
    call_once(base)
    if family.cross_attention:
        keep_rows_apart(base)
    if family.projects_itself:
        scale_by_position(base)
    if not family.separate:
        use_packed_attention(base, windows=family.tells_window)
        if family.recurrent is not None:
            start_branches_from_prompts(base, family.recurrent)
        trim_last_layer(base)


def _marked(base: PreTrainedModel, plan: LoadPlan, trainable: bool) -> VlmModel:
    """The model with its adapters, or with the weights marked that train."""
    if plan.continued is not None or (trainable and plan.has_lora):
        adapted = add_lora(base, plan.family, plan.training)
        if plan.continued is not None and base.device.type != "meta":
            read_continued(adapted, plan.continued)
        if not trainable:
            adapted.requires_grad_(False)
        elif plan.continued is not None:
            keep_start(adapted)
        return _made(adapted.eval(), base, plan.encoder_folder, plan.family)
    model = _made(base, base, plan.encoder_folder, plan.family)
    if trainable:
        _mark_trained(base, model, plan)
    return model


def require_exported(plan: LoadPlan, folder: Path) -> None:
    """Raise `DataError` if the model or the adapter in ``folder`` is not one that a run of the plan could export.

    Reads no weights.
    """
    if not is_adapter(folder):
        require_stored(folder)
        require_same_kind(load_config(folder), load_config(plan.folder), folder)
    elif (folder / "config.json").exists():
        raise unfit(folder, f"contains a model and an adapter ({CONFIG}); move one of them to another folder")
    else:
        require_adapter(folder, without_weights(plan.folder))


def load_exported(plan: LoadPlan, folder: Path, placement: Placement) -> VlmModel:
    """Read what `VlmModel.export` wrote into ``folder``; LoRA weights are put onto the model of ``plan.folder``."""
    require_exported(plan, folder)
    if not is_adapter(folder):
        base = read_weights(folder, placement)
        _change_forward(base, plan.family)
        return _made(base, base, folder, plan.family)
    base = read_weights(plan.folder, placement)
    _change_forward(base, plan.family)
    return _made(read_lora(base, folder, placement.device).eval(), base, folder, plan.family)


def _made(module: nn.Module, base: PreTrainedModel, encoder_folder: Path, family: Family) -> VlmModel:
    around = numbers_of(family.around, encoder_folder) if family.around else ()
    return VlmModel(module, base, encoder_folder, family, around)


def _mark_trained(base: PreTrainedModel, model: VlmModel, plan: LoadPlan) -> None:
    """Set ``requires_grad`` of the parameters that train: parts in full, except parameters that no gradient reaches."""
    idle = idle_parameters(base, plan.family)
    for part, names in model.parts().items():
        trains = plan.training[part].mode == "full"
        for name in names:
            base.get_parameter(name).requires_grad_(trains and name not in idle)
