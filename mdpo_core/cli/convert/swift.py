"""Recipes from the arguments of ``swift rlhf`` (ms-swift)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mdpo_core.cli.convert import training
from mdpo_core.cli.convert.backend import put_backend
from mdpo_core.cli.convert.config import Config
from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.losses import TOKENS_MEAN, LossOptions, term_of, weighted
from mdpo_core.cli.convert.objective import put_objective, put_terms
from mdpo_core.cli.convert.options import Options
from mdpo_core.cli.convert.parts import (
    note_dropout,
    put_four_bits,
    put_length,
    put_liger,
    put_lora,
    put_model,
    put_parts,
)

DEFAULTS: Mapping[str, Any] = training.DEFAULTS | {
    "rlhf_type": "dpo",
    "tuner_type": "lora",
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": None,
    "gradient_checkpointing": True,
    "logging_steps": 5,
    "weight_decay": 0.1,
    "adam_beta2": 0.95,
    "lr_scheduler_type": "cosine",
    "report_to": ["tensorboard"],
    "dataloader_num_workers": 1,
    "output_dir": "output",
    "lora_rank": 8,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "target_modules": ["all-linear"],
    "freeze_llm": False,
    "freeze_vit": True,
    "freeze_aligner": True,
    "split_dataset_ratio": 0.0,
    "loss_type": ["sigmoid"],
    "label_smoothing": 0.0,
    "discopop_tau": 0.05,
    "cpo_alpha": 1.0,
    "simpo_gamma": 1.0,
}
_STEP = 16  # pairs of a step without gradient_accumulation_steps
_RATES = {"lora": 1e-4, "full": 1e-5}
_BETAS = {"simpo": 2.0}
_PARTS = {"vision": "freeze_vit", "projector": "freeze_aligner", "language": "freeze_llm"}
_PART_RATES = {"vision": "vit_lr", "projector": "aligner_lr"}


def of_swift(config: Config, processes: int) -> tuple[Draft, Options]:
    """The recipe of arguments of ms-swift. Raises `RecipeError` for another training than on pairs."""
    tuner = config.options.get("tuner_type", config.options.get("train_type", "lora"))
    defaults = {**DEFAULTS, "learning_rate": _RATES.get(str(tuner), _RATES["lora"])}
    options, draft = Options(config, "swift", defaults), Draft()
    lora = _is_lora(options)
    _put_model(draft, options, lora)
    _put_data(draft, options)
    labels = _put_losses(draft, options)
    training.put_training(draft, options, _accumulation(options, processes), processes)
    name = "gradient_checkpointing"
    training.put_scoring(draft, options, checkpointing=options.truth(name), name=name)
    _put_backend(draft, options, lora)
    if draft.has("validation") or options.number("split_dataset_ratio"):
        _put_evaluations(draft, options)
    training.put_output(draft, options, labels[0])
    return draft, options


def _is_lora(options: Options) -> bool:
    name = options.first("tuner_type", "train_type")
    if options.text(name) not in _RATES:
        options.refuse(name, f"must be lora or full, found {options.text(name)}; mdpo trains nothing else")
    return options.text(name) == "lora"


def _put_model(draft: Draft, options: Options, lora: bool) -> None:
    put_model(draft, options, options.first("model", "model_id_or_path"))
    if lora:
        values = {
            "rank": options.whole("lora_rank"),
            "alpha": float(options.number("lora_alpha")),
            "dropout": 0.0,
            "dora": options.truth("use_dora"),
            "rslora": options.truth("use_rslora"),
            "save": options.texts("modules_to_save"),
        }
        options.value("lora_dropout")
        note_dropout(draft, options, "TRL's trainer, which ms-swift uses, switches dropout off")
        why = f"{options.why('lora_rank', 'lora_alpha', 'target_modules')}; TRL's trainer switches dropout off"
        put_lora(draft, values, options.texts("target_modules"), why)
    put_parts(draft, options, _PARTS, _PART_RATES, lora)
    put_length(draft, options, "max_length")
    put_four_bits(draft, options, "quant_bits")
    put_liger(draft, options, "use_liger_kernel")


def _put_data(draft: Draft, options: Options) -> None:
    """The sections ``data`` and ``validation``."""
    files = _listed(options, "dataset")
    if not files:
        options.refuse("dataset", "is missing: the arguments name no data set to train on")
    _put_sources(draft, "data", files, "dataset")
    share = float(options.number("split_dataset_ratio"))
    if share:
        draft.put("data", "hold_out", {"share": share}, "split_dataset_ratio")
    if options.truth("streaming"):
        draft.put("data", "streaming", True, "streaming")
    held_out = _listed(options, "val_dataset")
    if held_out:
        _put_sources(draft, "validation", held_out, "val_dataset")


def _listed(options: Options, name: str) -> list[str]:
    value = options.value(name)
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if options.given(name) else []


def _put_sources(draft: Draft, section: str, names: list[str], why: str) -> None:
    sources = {f"source{number}": _source(draft, name, why) for number, name in enumerate(names, start=1)}
    if len(sources) > 1:
        draft.put(section, "reader", "mixture", why)
        draft.put(section, "sources", sources)
        return
    for key, value in sources["source1"].items():
        draft.put(section, key, value, why if key == "path" else "")


def _source(draft: Draft, name: str, why: str) -> dict[str, Any]:
    """The rows of ``path#number``, as ms-swift writes it."""
    path, mark, number = name.partition("#")
    if mark:
        draft.note(f"{why}: {name}: ms-swift draws {number} rows; the recipe takes the first ones")
    if not path.startswith((".", "/")) and path.count("/") == 1 and "." not in path:
        draft.note(f"{why}: {path} is a name on a hub; mdpo data {path} says which reader fits its rows")
    return {"reader": "swift", "path": path} | ({"split": f"train[:{number}]"} if mark else {})


def _accumulation(options: Options, processes: int) -> int:
    if options.value("gradient_accumulation_steps") is not None:
        return options.whole("gradient_accumulation_steps")
    return max(1, math.ceil(_STEP / options.whole("per_device_train_batch_size") / processes))


def _put_losses(draft: Draft, options: Options) -> list[str]:
    kind = options.text("rlhf_type")
    beta = float(options.number("beta")) if options.given("beta") else _BETAS.get(kind, 0.1)
    alpha, gamma = float(options.number("cpo_alpha")), float(options.number("simpo_gamma"))
    names = options.texts("loss_type")
    if kind == "cpo" and names == ["simpo"]:
        kind = "simpo"
    likely = [("cpo_alpha", weighted({"anchor": "sft"}, alpha))] if alpha else []
    terms: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
        "orpo": [("orpo", {"loss": "orpo", "lam": beta})],
        "cpo": [("cpo", {"loss": "cpo", "beta": beta, "alpha": alpha})],
        "simpo": [("simpo", {"loss": "simpo", "beta": beta, "gamma": gamma}), *likely],
    }
    if kind in terms:
        notes = [] if kind == "orpo" or not alpha else [f"cpo_alpha: {TOKENS_MEAN}"]
        return put_terms(draft, list(terms[kind]), notes)
    if kind != "dpo":
        options.refuse("rlhf_type", f"must be dpo, cpo, simpo or orpo, found {kind}; mdpo trains on preference pairs")
    return _put_dpo(draft, options, names, beta)


def _put_dpo(draft: Draft, options: Options, names: list[str], beta: float) -> list[str]:
    values = LossOptions(
        beta=beta,
        label_smoothing=float(options.number("label_smoothing")),
        discopop_tau=float(options.number("discopop_tau")),
        ld_alpha=float(options.number("ld_alpha")) if options.given("ld_alpha") else None,
    )
    given = options.texts("loss_weights")
    weights = [float(each) for each in given] if given else [1.0] * len(names)
    rpo = float(options.number("rpo_alpha")) if options.given("rpo_alpha") else 0.0
    notes = [f"rpo_alpha, sft: {TOKENS_MEAN}"] if rpo or "sft" in names else []
    if not rpo:
        return put_objective(draft, options, names, weights, values, notes)
    terms = [(name, term_of(name, values)) for name in names]
    for _, term in terms:
        if isinstance(term, str):
            options.config.refuse(f"loss_type: {term}")
    found = [(name, weighted(dict(term), weight)) for (name, term), weight in zip(terms, weights, strict=True)]  # type: ignore[arg-type]
    return put_terms(draft, [*found, ("rpo_alpha", weighted({"anchor": "sft"}, rpo))], notes)


def _put_backend(draft: Draft, options: Options, lora: bool) -> None:
    """Without a type, ms-swift computes in the type of the model's files, which is bfloat16 in most."""
    dtype = options.text("torch_dtype")
    half = {"float16": "fp16", "float32": ""}.get(dtype, "bf16")
    half = "fp16" if options.truth("fp16") else "bf16" if options.truth("bf16") else half
    why = options.why("torch_dtype") if dtype else "ms-swift takes the type of the model's files"
    put_backend(draft, options, half=half, half_weights=dtype != "float32", lora=lora, why=why)


def _put_evaluations(draft: Draft, options: Options) -> None:
    """Evaluations come with checkpoints, unless the arguments say otherwise."""
    name = "eval_strategy" if options.given("eval_strategy") else "save_strategy"
    steps = "eval_steps" if options.given("eval_steps") else "save_steps"
    options.value("eval_strategy")
    if options.text(name) == "steps":
        draft.add("evaluators", {"evaluator": "preference", "every": options.whole(steps)}, options.why(steps))
    else:
        training.put_evaluations(draft, options, options.text(name))
