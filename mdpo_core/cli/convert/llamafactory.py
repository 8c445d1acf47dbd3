"""Recipes from the YAML of LLaMA-Factory, with ``stage: dpo``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdpo_core.cli.convert import training
from mdpo_core.cli.convert.backend import put_backend
from mdpo_core.cli.convert.config import Config
from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.losses import LossOptions, term_of, weighted
from mdpo_core.cli.convert.objective import put_terms
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
    "stage": "sft",
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_dropout": 0.0,
    "lora_target": "all",
    "freeze_vision_tower": True,
    "freeze_multi_modal_projector": True,
    "freeze_language_model": False,
    "dataset_dir": "data",
    "cutoff_len": 2048,
    "val_size": 0.0,
    "pref_beta": 0.1,
    "pref_ftx": 0.0,
    "pref_bco_weight": 0.0,
    "pref_loss": "sigmoid",
    "dpo_label_smoothing": 0.0,
    "simpo_gamma": 0.5,
}
_PARTS = {
    "vision": "freeze_vision_tower",
    "projector": "freeze_multi_modal_projector",
    "language": "freeze_language_model",
}


def of_llamafactory(config: Config, processes: int) -> tuple[Draft, Options]:
    """The recipe of a configuration of LLaMA-Factory. Raises `RecipeError` for another stage than DPO."""
    options, draft = Options(config, "llamafactory", DEFAULTS), Draft()
    options.value("do_train")
    if options.text("stage") != "dpo":
        options.refuse("stage", f"must be dpo, found {options.text('stage')}; mdpo trains on preference pairs")
    lora = options.text("finetuning_type") == "lora"
    if options.text("finetuning_type") not in ("lora", "full"):
        options.refuse("finetuning_type", "must be lora or full; mdpo trains nothing else")
    _put_model(draft, options, lora)
    strategy = options.text(options.first("eval_strategy", "evaluation_strategy"))
    _put_data(draft, options)
    labels = put_terms(draft, *_terms(options))
    training.put_training(draft, options, options.whole("gradient_accumulation_steps"), processes)
    off = "disable_gradient_checkpointing"
    training.put_scoring(draft, options, checkpointing=not options.truth(off), name=off)
    half = "bf16" if options.truth("bf16") or options.truth("pure_bf16") else "fp16" if options.truth("fp16") else ""
    put_backend(draft, options, half=half, half_weights=lora, lora=lora, why=options.why("bf16", "fp16"))
    if draft.has("validation") or options.number("val_size"):
        training.put_evaluations(draft, options, strategy)
    _put_early_stop(draft, options)
    if options.truth("plot_loss"):
        draft.add("trackers", {"tracker": "curves"}, "plot_loss")
    training.put_output(draft, options, labels[0])
    return draft, options


def _put_model(draft: Draft, options: Options, lora: bool) -> None:
    put_model(draft, options, "model_name_or_path")
    if lora:
        rank = options.whole("lora_rank")
        alpha = options.number("lora_alpha") if options.given("lora_alpha") else 2 * rank
        values = {
            "rank": rank,
            "alpha": float(alpha),
            "dropout": 0.0,
            "dora": options.truth("use_dora"),
            "rslora": options.truth("use_rslora"),
            "save": options.texts("additional_target"),
        }
        note_dropout(draft, options, "LLaMA-Factory switches dropout off in DPO")
        off = "; DPO switches dropout off" if options.number("lora_dropout") else ""
        why = options.why("lora_rank", "lora_alpha", "lora_target") + off
        put_lora(draft, values, options.texts("lora_target"), why)
    put_parts(draft, options, _PARTS, {}, lora)
    put_length(draft, options, "cutoff_len")
    put_four_bits(draft, options, "quantization_bit")
    put_liger(draft, options, "enable_liger_kernel")


def _put_data(draft: Draft, options: Options) -> None:
    """The sections ``data`` and ``validation``."""
    names, limit = options.texts("dataset"), options.value("max_samples")
    if not names:
        options.refuse("dataset", "is missing: the configuration names no data set to train on")
    split = {} if limit is None else {"split": f"train[:{options.whole('max_samples')}]"}
    sources = {name: _source(options, name) | split for name in names}
    _put_sources(draft, "data", sources, "dataset")
    if options.number("val_size"):
        size = options.number("val_size")
        draft.put("data", "hold_out", {"share": size} if size < 1 else {"rows": int(size)}, "val_size")
    held_out = {name: _source(options, name) for name in options.texts("eval_dataset")}
    if held_out:
        _put_sources(draft, "validation", held_out, "eval_dataset")


def _source(options: Options, name: str) -> dict[str, Any]:
    images = {"images": options.text("media_dir")} if options.given("media_dir") else {}
    return {"reader": "llamafactory", "path": options.text("dataset_dir"), "dataset": name, **images}


def _put_sources(draft: Draft, section: str, sources: Mapping[str, dict[str, Any]], why: str) -> None:
    if len(sources) > 1:
        draft.put(section, "reader", "mixture", why)
        draft.put(section, "sources", dict(sources))
        return
    for key, value in next(iter(sources.values())).items():
        draft.put(section, key, value, why if key == "dataset" else "")


def _terms(options: Options) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    name, beta = options.text("pref_loss"), float(options.number("pref_beta"))
    values = LossOptions(
        beta=beta,
        label_smoothing=float(options.number("dpo_label_smoothing")),
        ld_alpha=float(options.number("ld_alpha")) if options.given("ld_alpha") else None,
    )
    gamma = float(options.number("simpo_gamma"))
    free: Mapping[str, dict[str, Any]] = {
        "orpo": {"loss": "orpo", "lam": beta},
        "simpo": {"loss": "simpo", "beta": beta, "gamma": gamma},
    }
    if name not in (*free, "sigmoid", "hinge", "ipo"):
        options.refuse("pref_loss", f"must be sigmoid, hinge, ipo, orpo or simpo, found {name}")
    term = free.get(name) or term_of(name, values)
    if isinstance(term, str):
        options.refuse("pref_loss", f": {term}")
    bco = 0.0 if name in free else float(options.number("pref_bco_weight"))
    # LLaMA-Factory takes the mean of the two, weighted by 1 and pref_bco_weight.
    terms = [(name, weighted(dict(term), 1 / (1 + bco)))]
    if bco:
        terms.append(("pref_bco_weight", {"loss": "bco", "beta": beta, "weight": bco / (1 + bco)}))
    if options.number("pref_ftx"):
        terms.append(("pref_ftx", weighted({"anchor": "sft"}, float(options.number("pref_ftx")))))
    notes = ["ld_alpha: the reference's tokens are weighted here, too"] if values.ld_alpha is not None else []
    return terms, notes


def _put_early_stop(draft: Draft, options: Options) -> None:
    if not options.given("early_stopping_steps"):
        return
    if not draft.has("evaluators"):
        draft.note("early_stopping_steps: without evaluations during the run nothing can end it early")
        return
    goal = {"metric": "eval/preference/loss", "mode": "min", "patience": options.whole("early_stopping_steps")}
    draft.put("train", "stop_early", goal, "early_stopping_steps")
