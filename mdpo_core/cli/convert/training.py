"""The options of transformers' TrainingArguments, which all of these trainers have: training, logs, output."""

from __future__ import annotations

import math
from typing import Any, get_args

from mdpo_core.cli.convert.draft import Draft
from mdpo_core.cli.convert.options import Options
from mdpo_core.interfaces.train_options import SCHEDULE_OPTIONS, Train
from mdpo_core.registry.discovery import current_registry
from mdpo_core.words.amounts import counted

# Defaults of options that no recipe has; a file of all options repeats them.
_ELSEWHERE: dict[str, Any] = {
    "average_tokens_across_devices": True,
    "label_smoothing_factor": 0.0,
    "logging_nan_inf_filter": True,
    "log_on_each_node": True,
    "log_level": "passive",
    "log_level_replica": "warning",
    "project": "huggingface",
    "per_device_eval_batch_size": 8,
    "eval_do_concat_batches": True,
    "hub_strategy": "every_save",
    "dataloader_pin_memory": True,
    "dataloader_in_order": True,
    "remove_unused_columns": True,
    "length_column_name": "length",
    "train_sampling_strategy": "random",
    "ddp_timeout": 1800,
    "skip_memory_metrics": True,
    "local_rank": -1,
}
# transformers' own defaults.
DEFAULTS: dict[str, Any] = _ELSEWHERE | {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
    "max_steps": -1,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "optim": "adamw_torch_fused",
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0,
    "logging_strategy": "steps",
    "logging_steps": 500,
    "report_to": "none",
    "eval_strategy": "no",
    "save_strategy": "steps",
    "save_steps": 500,
    "seed": 42,
    "dataloader_num_workers": 0,
    "output_dir": "trainer_output",
}
_SCHEDULES = {"constant_with_warmup": "constant"}
_ADAMW = "adamw"
_OPTIMIZERS = {
    "adafactor": "adafactor",
    "adamw_8bit": "adamw_8bit",
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
_WINDOW = 50  # batches that transformers sorts by length together
_ALL = 1_000_000  # checkpoints, or steps
_TRACKERS = ("tensorboard", "wandb", "mlflow", "swanlab", "trackio")
_OF_LOSS = ("loss", "eval_loss")
_REWARDS = {"rewards/accuracies": "accuracy", "rewards/margins": "margin"}


def put_training(draft: Draft, options: Options, accumulation: int, processes: int) -> None:
    """The section ``train``."""
    _put_length(draft, options)
    micro = options.whole("per_device_train_batch_size")
    sizes = f"{micro} a process x {accumulation} accumulated x {counted(processes, 'process')}"
    draft.put("train", "batch_size", micro * accumulation * processes, sizes)
    draft.put("train", "micro_batch_size", micro, options.why("per_device_train_batch_size"))
    draft.put("train", "learning_rate", float(options.number("learning_rate")), options.why("learning_rate"))
    _put_schedule(draft, options)
    draft.put("train", "weight_decay", float(options.number("weight_decay")), options.why("weight_decay"))
    if options.given("neftune_noise_alpha"):
        noise = float(options.number("neftune_noise_alpha"))
        draft.put("train", "neftune_noise_alpha", noise, "neftune_noise_alpha")
    balance = options.first("router_aux_loss_coef", "moe_aux_loss_coef")
    if options.given(balance) and options.number(balance) > 0:
        draft.put("train", "router_aux_loss_coef", float(options.number(balance)), balance)
    betas = [float(options.number(f"adam_beta{number}")) for number in (1, 2)]
    draft.put("train", "adam_betas", betas, options.why("adam_beta1", "adam_beta2"))
    norm = options.number("max_grad_norm")
    draft.put("train", "max_grad_norm", float(norm) or None, options.why("max_grad_norm"))
    _put_logging(draft, options)
    draft.put("train", "workers", options.whole("dataloader_num_workers"), options.why("dataloader_num_workers"))
    if options.truth("group_by_length") or options.text("train_sampling_strategy") == "group_by_length":
        draft.put("train", "length_window", _WINDOW, options.why("group_by_length", "train_sampling_strategy"))
    draft.put("train", "seed", options.whole("seed"), options.why("seed"))
    _put_optimizer(draft, options)


def _put_length(draft: Draft, options: Options) -> None:
    steps = options.whole("max_steps")
    if steps > 0:
        draft.put("train", "max_steps", steps, options.why("max_steps"))
        options.value("num_train_epochs")
        return
    epochs = options.number("num_train_epochs")
    if epochs != int(epochs):
        draft.note(f"num_train_epochs: {epochs}: train.epochs is a whole number; the recipe has {math.ceil(epochs)}")
    draft.put("train", "epochs", math.ceil(epochs), options.why("num_train_epochs"))


def _put_schedule(draft: Draft, options: Options) -> None:
    name = options.text("lr_scheduler_type")
    schedule = _SCHEDULES.get(name, name)
    if schedule not in get_args(Train.model_fields["schedule"].annotation):
        draft.note(f"lr_scheduler_type: {name}: mdpo has no such schedule; the recipe has linear")
        schedule = "linear"
    draft.put("train", "schedule", schedule, options.why("lr_scheduler_type"))
    extra = options.value("lr_scheduler_kwargs")
    if isinstance(extra, dict) and extra:
        known = {key: value for key, value in extra.items() if key in SCHEDULE_OPTIONS.get(schedule, ())}
        draft.put("train", "schedule_options", known, options.why("lr_scheduler_kwargs"))
        lost = ", ".join(key for key in extra if key not in known)
        if lost:
            draft.note(f"lr_scheduler_kwargs: the schedule {schedule} has no {lost} here")
    warmup = options.first("warmup_ratio", "warmup_steps") if options.given("warmup_ratio") else "warmup_steps"
    amount = options.number(warmup)
    if name == "constant" and amount:
        draft.note(f"{warmup}: the schedule constant has no warm-up in transformers, so the recipe has none")
        amount = 0
    key = "warmup_ratio" if warmup == "warmup_ratio" or amount < 1 else "warmup_steps"
    draft.put("train", key, float(amount) if key == "warmup_ratio" else math.ceil(amount), options.why(warmup))


def _put_optimizer(draft: Draft, options: Options) -> None:
    name = options.text("optim")
    splits = options.given("deepspeed") or options.text("fsdp").lower() not in ("", "false", "[]")
    if name in _OPTIMIZERS and not splits:
        draft.put("train", "optimizer", _OPTIMIZERS[name], options.why("optim"))
    elif not name.startswith(_ADAMW) or name.endswith(("8bit", "4bit")):
        draft.note(f"optim: {name}: the recipe trains with AdamW")
    if options.number("adam_epsilon") != DEFAULTS["adam_epsilon"]:
        draft.note("adam_epsilon: it is 1e-8 here")


def _put_logging(draft: Draft, options: Options) -> None:
    steps = options.number("logging_steps")
    if options.text("logging_strategy") != "steps" or steps < 1 or steps != int(steps):
        draft.note("logging_strategy, logging_steps: train.log_every counts whole steps; the recipe has 10")
        steps = 10
    draft.put("train", "log_every", int(steps), options.why("logging_steps"))


def put_output(draft: Draft, options: Options, first_label: str) -> None:
    """The sections ``output`` and ``trackers``. ``first_label``: the term that rewards are of."""
    draft.put("output", "dir", options.text("output_dir"), options.why("output_dir"))
    strategy = options.text("save_strategy")
    steps = options.number("save_steps")
    if strategy == "no":
        draft.put("output", "save_every", _ALL, "save_strategy no: the last step is saved in any case")
    elif strategy == "steps" and steps >= 1 and steps == int(steps):
        draft.put("output", "save_every", int(steps), options.why("save_steps"))
    else:
        draft.note(f"save_strategy: {strategy}: output.save_every counts whole steps; the recipe has 100")
        draft.put("output", "save_every", 100, options.why("save_strategy"))
    limit = options.value("save_total_limit")
    if limit is None:
        draft.put("output", "keep", _ALL, f"{options.title} keeps all checkpoints, by default")
    else:
        draft.put("output", "keep", options.whole("save_total_limit"), "save_total_limit")
    _put_best(draft, options, first_label)
    for name in options.texts("report_to"):
        _put_tracker(draft, name)


def _put_best(draft: Draft, options: Options, first_label: str) -> None:
    if not options.truth("load_best_model_at_end"):
        return
    metric = options.text("metric_for_best_model") or "loss"
    options.value("greater_is_better")
    plain = metric.removeprefix("eval_")
    if metric in _OF_LOSS:
        goal = {"metric": "eval/preference/loss", "mode": "min"}
    elif plain in _REWARDS:
        goal = {"metric": f"eval/preference/rewards/{_REWARDS[plain]}/{first_label}", "mode": "max"}
    else:
        draft.note(f"metric_for_best_model: {metric}: no evaluator makes it; see output.keep_best")
        return
    if not draft.has("evaluators"):
        draft.note("load_best_model_at_end: without evaluations during the run nothing can be best")
        return
    draft.put("output", "keep_best", goal, "load_best_model_at_end; the best is exported as best/, beside final/")


def _put_tracker(draft: Draft, name: str) -> None:
    if name in current_registry().components("tracker"):
        draft.add("trackers", {"tracker": name}, "report_to")
    elif name in _TRACKERS:
        draft.note(f"report_to: {name}: no installed tracker has this name; metrics.jsonl has all numbers")
    elif name not in ("none", "all"):
        draft.note(f"report_to: {name}: mdpo has no such tracker; metrics.jsonl has all numbers")


def put_evaluations(draft: Draft, options: Options, strategy: str) -> None:
    """The evaluator of held-out rows, which the recipe has. ``strategy``: steps, epoch or no."""
    steps = options.value("eval_steps")
    if strategy == "no":
        return
    if strategy != "steps" or (steps is not None and options.number("eval_steps") < 1):
        draft.note(f"eval_strategy: {strategy}: evaluators count whole steps; the recipe evaluates at start and end")
        draft.add("evaluators", {"evaluator": "preference"}, options.why("eval_strategy"))
        return
    name = "eval_steps" if steps is not None else "logging_steps"
    draft.add("evaluators", {"evaluator": "preference", "every": options.whole(name)}, options.why(name))


def put_scoring(draft: Draft, options: Options, *, checkpointing: bool, name: str) -> None:
    """The section ``scoring``. ``name``: the option that says whether activations are computed again."""
    mode = "full" if checkpointing else "off"
    draft.put("scoring", "activation_checkpointing", mode, options.why(name))
    if options.truth("torch_compile"):
        draft.put("scoring", "compile", True, "torch_compile")
