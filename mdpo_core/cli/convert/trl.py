"""Recipes from TRL: a DPOConfig, or the YAML of its command line (trl 1.16)."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdpo_core.cli.convert import training
from mdpo_core.cli.convert.backend import put_backend
from mdpo_core.cli.convert.config import Config
from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.losses import TOKENS_MEAN, LossOptions
from mdpo_core.cli.convert.objective import put_objective
from mdpo_core.cli.convert.options import Options
from mdpo_core.cli.convert.parts import ALL_LINEAR, note_dropout, put_length, put_liger, put_lora, put_model
from mdpo_core.cli.convert.routers import put_default_balance

DEFAULTS: Mapping[str, Any] = training.DEFAULTS | {
    "learning_rate": 1e-6,
    "logging_steps": 10,
    "activation_checkpointing": True,
    "max_length": 1024,
    "loss_type": ["sigmoid"],
    "beta": 0.1,
    "label_smoothing": 0.0,
    "discopop_tau": 0.05,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "disable_dropout": True,
    "dtype": "float32",
    "truncation_mode": "keep_start",
    "ref_model_mixup_alpha": 0.6,
    "ref_model_sync_steps": 512,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "dataset_train_split": "train",
    "dataset_test_split": "test",
}
_DATA = "pairs.jsonl"
_FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".tar", ".gz", ".xz", ".zst", ".bz2")
_OF_SOURCE = {"path", "name", "split"}  # what of an entry of a mixture is carried over
_PATHS = ("./", "../", "~", "/")


def of_trl(config: Config, processes: int) -> tuple[Draft, Options]:
    """The recipe of a configuration of TRL."""
    options, draft = Options(config, "trl", DEFAULTS), Draft()
    _put_model(draft, options)
    strategy = options.text(options.first("eval_strategy", "evaluation_strategy"))
    _put_data(draft, options, strategy)
    labels = put_objective(draft, options, *_losses(options))
    training.put_training(draft, options, options.whole("gradient_accumulation_steps"), processes)
    put_default_balance(draft, options, "model_name_or_path")
    checkpointing = options.first("activation_checkpointing", "gradient_checkpointing")
    training.put_scoring(draft, options, checkpointing=options.truth(checkpointing), name=checkpointing)
    if options.truth("precompute_ref_log_probs"):
        draft.put("reference", "", "cached", "precompute_ref_log_probs")
    _put_backend(draft, options)
    training.put_evaluations(draft, options, strategy)
    training.put_output(draft, options, labels[0])
    return draft, options


def _put_model(draft: Draft, options: Options) -> None:
    put_model(draft, options, "model_name_or_path")
    if options.truth("use_peft"):
        _put_lora(draft, options)
    else:
        draft.put("model", "freeze", [], "TRL trains every part of the model")
    put_length(draft, options, "max_length")
    if options.truth("load_in_4bit"):
        draft.put("model", "quantize", "nf4", "load_in_4bit")
    put_liger(draft, options, "use_liger_kernel")


def _put_lora(draft: Draft, options: Options) -> None:
    off = options.truth("disable_dropout")
    dropout = 0.0 if off else float(options.number("lora_dropout"))
    targets = options.texts("lora_target_modules")
    values = {
        "rank": options.whole("lora_r"),
        "alpha": float(options.number("lora_alpha")),
        "dropout": dropout,
        "dora": options.truth("use_dora"),
        "rslora": options.truth("use_rslora"),
        "save": options.texts("lora_modules_to_save"),
    }
    without = "; disable_dropout switches dropout off" if off and options.number("lora_dropout") else ""
    if off:
        note_dropout(draft, options, f"TRL switches dropout off ({options.why('disable_dropout')})")
    put_lora(draft, values, targets, options.why("use_peft", "lora_r", "lora_alpha", "lora_target_modules") + without)
    if targets == [ALL_LINEAR]:
        draft.put("model", "parts", {part: {"train": "lora"} for part in ("vision", "projector")}, "all-linear of peft")
    elif targets:
        draft.note("lora_target_modules: peft finds these names in all parts; the recipe in the language model alone")
    else:
        draft.note("lora_target_modules: not given; peft has a list for each model, the recipe takes all linear layers")


def _put_data(draft: Draft, options: Options, strategy: str) -> None:
    """The sections ``data`` and ``validation``."""
    mixture = options.value("datasets")
    if isinstance(mixture, list) and mixture:
        sources = {f"source{number}": _source(each) for number, each in enumerate(mixture, start=1)}
        draft.put("data", "reader", "mixture", "datasets")
        draft.put("data", "sources", sources)
        _put_rest_of_mixture(draft, options, mixture, strategy)
        return
    path, split = options.text("dataset_name"), options.text("dataset_train_split")
    if not path:
        draft.note(f"data.path: the configuration names no data set (dataset_name); set it in place of {_DATA}")
    draft.put("data", "reader", "trl", "TRL's rows; mdpo data FILE says which reader fits others")
    draft.put("data", "path", path or _DATA, "dataset_name" if path else "set it")
    also = {"split": split} | ({"config": options.text("dataset_config")} if options.given("dataset_config") else {})
    for key, value in (also if path else {}).items():
        draft.put("data", key, value)
    if options.truth("dataset_streaming"):
        draft.put("data", "streaming", True, "dataset_streaming")
    if strategy == "no":
        return
    if not _may_have_split(path, options.text("dataset_test_split")):
        _hold_out(draft, options)
        return
    draft.put("validation", "reader", "trl")
    draft.put("validation", "path", path, "dataset_name")
    for key, value in (also | {"split": options.text("dataset_test_split")}).items():
        draft.put("validation", key, value, options.why("dataset_test_split") if key == "split" else "")


def _put_rest_of_mixture(draft: Draft, options: Options, mixture: list[Any], strategy: str) -> None:
    """The held-out rows of a mixture, and notes on what its entries ask for besides."""
    if options.given("test_split_size"):
        size = options.number("test_split_size")
        draft.put("data", "hold_out", {"share": size} if size < 1 else {"rows": int(size)}, "test_split_size")
    elif strategy != "no":
        draft.put("data", "hold_out", {"share": 0.02}, "a mixture without test_split_size has no rows for tests")
        draft.note("datasets: without test_split_size, TRL has no rows to evaluate on; the recipe holds 2 % out")
    for entry in (each for each in mixture if isinstance(each, Mapping)):
        for key in sorted(entry.keys() - _OF_SOURCE):
            draft.note(f"datasets: {entry.get('path')}: {key} is not carried over")


def _may_have_split(path: str, split: str) -> bool:
    """Whether a path is a name on the hub, or a folder with files of the split; a file has no splits."""
    if Path(path or _DATA).is_dir():
        return any(next(Path(path).glob(f"{below}*{glob.escape(split)}*"), None) for below in ("", "*/"))
    is_file = path.startswith(_PATHS) or path.endswith(_FILES) or Path(path).exists()
    return path.count("/") == 1 and not is_file


def _hold_out(draft: Draft, options: Options) -> None:
    """Held-out rows where the data is a file, which has no split for tests."""
    split, section = options.text("dataset_test_split"), "the section validation (reader, path)"
    if options.truth("dataset_streaming"):
        options.config.refuse(f"asks to evaluate on the split '{split}' of a streamed file; leave eval_strategy out")
    draft.put("data", "hold_out", {"share": 0.02}, "a file has no split for tests")
    draft.note(
        f"dataset_test_split: a file has no split '{split}', so the recipe holds 2 % of its rows out (data.hold_out); "
        f"to measure on the rows of another file, leave data.hold_out out and name that file in {section}"
    )


def _source(entry: Any) -> dict[str, Any]:
    """A source of a mixture from an entry of ``datasets``."""
    found = entry if isinstance(entry, Mapping) else {"path": entry}
    named = {"path": found.get("path"), "config": found.get("name"), "split": found.get("split")}
    return {"reader": "trl", **{key: value for key, value in named.items() if value is not None}}


def _losses(options: Options) -> tuple[list[str], list[float], LossOptions, list[str]]:
    names = options.texts("loss_type")
    given = options.value("loss_weights")
    weights = [float(each) for each in options.texts("loss_weights")] if given is not None else [1.0] * len(names)
    notes = []
    if "sigmoid" in names and options.number("label_smoothing"):
        notes.append("label_smoothing: TRL's loss 'sigmoid' does not read it; {loss: dpo, label_smoothing: ...} would")
    if "sft" in names:
        notes.append(f"loss_type: sft: {TOKENS_MEAN}")
    return (
        names,
        weights,
        LossOptions(
            beta=float(options.number("beta")),
            label_smoothing=float(options.number("label_smoothing")),
            discopop_tau=float(options.number("discopop_tau")),
            divergence=options.text("f_divergence_type"),
            divergence_alpha=float(options.number("f_alpha_divergence_coef")),
            ld_alpha=float(options.number("ld_alpha")) if options.given("ld_alpha") else None,
            weighted=options.truth("use_weighting"),
            smooths_dpo=False,
            shifts_bco=False,
        ),
        notes,
    )


def _put_backend(draft: Draft, options: Options) -> None:
    """bf16 is on in TRL unless fp16 or bf16 is set."""
    half = "fp16" if options.truth("fp16") else "bf16" if options.truth("bf16") or not options.given("bf16") else ""
    dtype = options.first("dtype", "torch_dtype")
    weights = options.text(dtype) in ("bfloat16", "float16", "auto")
    why = options.why(half or "bf16", dtype)
    put_backend(draft, options, half=half, half_weights=weights, lora=options.truth("use_peft"), why=why)
