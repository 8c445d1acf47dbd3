"""The options in ``adapter_config.json``: those that mdpo reads, and why it refuses others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mdpo_core import DataError, Problem
from mdpo_vlm.files.folder import read_json

_LARGEST_RANK = 2**16
# Options without an effect on a trained adapter, besides those of `AdapterOptions`.
_WITHOUT_EFFECT = {
    *("task_type", "peft_version", "auto_mapping", "revision", "inference_mode", "runtime_config", "loftq_config"),
    *("qalora_group_size", "megatron_core", "eva_config"),
}
Rank = Annotated[int, Field(gt=0, le=_LARGEST_RANK)]
Alpha = Annotated[float, Field(gt=0, le=2.0**24)]

# Other beginnings change the model's own weights, too.
_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva", "mica")
# peft computes these again when it puts an adapter on; others are random, or need the data of the training.
_REPEATABLE = ("pissa", "olora")
_SAVED = "merge_and_unload().save_pretrained(NEW), the processor saved into NEW, and model.path: NEW"
_MERGE = f"merge it with peft: PeftModel.from_pretrained(MODEL, FOLDER).{_SAVED}"
_WHY = {
    "lora_bias": f"so it also changes biases, and mdpo reads adapters without them; {_MERGE}. peft merges it only if "
    "the layers have biases; if they have none, train it again without lora_bias",
    "alora_invocation_tokens": "so it acts only after these tokens, but mdpo lets adapters act on all; train it again "
    "without this option",
}


class AdapterOptions(BaseModel):
    """The options of an adapter that mdpo reads: those that say what its tensors are, and how they are used."""

    model_config = ConfigDict(extra="allow", strict=True)

    peft_type: str
    base_model_name_or_path: str | None = None
    r: Rank
    lora_alpha: Alpha
    lora_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    bias: str = "none"
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: list[str] | str | None = None
    target_parameters: list[str] | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, Rank] | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    init_lora_weights: bool | str = True

    def refused(self) -> Iterator[str]:
        """Each option that mdpo does not read, though it changes what an adapter computes: why, and what would work."""
        if self.bias != "none":
            yield f"bias is {self.bias!r}, so biases of the model are in the file, and mdpo reads LoRA alone; {_MERGE}"
        if self.init_lora_weights not in _BEGINNINGS:
            yield _beginning(str(self.init_lora_weights))
        if self.target_modules is None and not self.target_parameters:
            yield "target_modules is missing, so it does not say which layers have LoRA; name them as in the training"
        plain = LoraConfig().to_dict()
        for name, value in (self.model_extra or {}).items():
            if name not in _WITHOUT_EFFECT and value and value != plain.get(name):
                yield f"{name} is {value!r}, {_WHY.get(name, f'which mdpo does not read; {_MERGE}')}"

    def config(self) -> LoraConfig:
        """The options for peft."""
        about = {"peft_type", "base_model_name_or_path", "init_lora_weights", *(self.model_extra or {})}
        return LoraConfig(**self.model_dump(exclude=about, exclude_none=True), task_type="CAUSAL_LM")


def _beginning(name: str) -> str:
    """Why an adapter with this ``init_lora_weights`` is refused, and what would work."""
    found = f"init_lora_weights is {name[:60]!r}"
    if name in _REPEATABLE:
        return f"{found}, which also changes the weights of the model, and mdpo puts LoRA on a model as it is; {_MERGE}"
    unsaid = "which may also change the weights of the model, and this folder does not say how"
    return f"{found}, {unsaid}; merge it in the program that trains it: {_SAVED}"


def adapter_options(file: Path) -> AdapterOptions:
    """The options in the file ``adapter_config.json`` of an adapter. Raises `DataError` for those that mdpo refuses."""
    content = read_json(file)
    kind = content.get("peft_type")
    if isinstance(kind, str) and kind != "LORA":
        kinds = f"peft_type is {kind[:60]!r}, and mdpo reads adapters of the type LORA alone"
        raise DataError([Problem(str(file), "", f"{kinds}; if peft can, {_MERGE}")])
    try:
        options = AdapterOptions.model_validate(content)
    except ValidationError as error:
        # One problem an option: pydantic lists each type that it could have had.
        by_option = {detail["loc"][0]: _as_problem(file, detail) for detail in error.errors()}
        raise DataError(list(by_option.values())) from error
    refused = [Problem(str(file), "", problem) for problem in options.refused()]
    if refused:
        raise DataError(refused)
    return options


def _as_problem(file: Path, detail: Any) -> Problem:
    found = "" if detail["type"] == "missing" else f", found {str(detail['input'])[:60]!r}"
    return Problem(str(file), str(detail["loc"][0]), f"{detail['msg'][0].lower()}{detail['msg'][1:]}{found}")
