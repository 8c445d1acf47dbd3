"""Recipes from TRL, compared with what TRL's own parser reads and what its losses compute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.effort import num_examples

from mdpo_core import Recipe, RecipeError, Scores
from mdpo_core.cli.convert.command import converted
from mdpo_core.cli.convert.losses import LossOptions, term_of
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import document_of
from mdpo_core.registry.discovery import current_registry
from mdpo_core.testing import scores

# TRL's own default is under the name that transformers has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")
PAIR = ["chosen", "rejected"]
PLAIN = ("sigmoid", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop")


def recipe_of(folder: Path, options: dict[str, Any], processes: int = 1, trainer: str | None = None) -> Recipe:
    """The recipe that `mdpo convert` makes of a file with these options."""
    with (folder / "config.yaml").open("w") as file:
        YAML(typ="safe").dump(options, file)
    text, _ = converted(folder / "config.yaml", trainer, processes, None)
    return build_recipe(document_of(YAML(typ="safe", pure=True).load(text)), processes)


CONFIGS = st.fixed_dictionaries(
    {"model_name_or_path": st.just("some/model"), "dataset_name": st.just("some/pairs"), "use_cpu": st.just(True)},
    optional={
        "learning_rate": st.floats(1e-6, 1e-2),
        "per_device_train_batch_size": st.integers(1, 9),
        "gradient_accumulation_steps": st.integers(1, 9),
        "num_train_epochs": st.integers(1, 5),
        "max_steps": st.integers(1, 500),
        "lr_scheduler_type": st.sampled_from(["linear", "cosine", "polynomial", "inverse_sqrt"]),
        "warmup_steps": st.one_of(st.integers(0, 50), st.floats(0.01, 0.9)),
        "weight_decay": st.floats(0, 0.5),
        "adam_beta1": st.floats(0.5, 0.99),
        "adam_beta2": st.floats(0.5, 0.999),
        "max_grad_norm": st.floats(0.1, 5),
        "seed": st.integers(0, 1000),
        "logging_steps": st.integers(1, 50),
        "save_steps": st.integers(1, 50),
        "save_total_limit": st.integers(1, 5),
        "dataloader_num_workers": st.integers(0, 4),
        "max_length": st.integers(16, 4096),
        "beta": st.floats(0.01, 1),
        "neftune_noise_alpha": st.floats(0.5, 10),
        "activation_checkpointing": st.booleans(),
        "bf16": st.booleans(),
        "precompute_ref_log_probs": st.booleans(),
        "use_peft": st.booleans(),
        "lora_r": st.integers(1, 64),
        "lora_alpha": st.integers(1, 64),
        "lora_dropout": st.sampled_from([0.0, 0.1]),
        "disable_dropout": st.booleans(),
        "output_dir": st.sampled_from(["runs/a", "runs/b"]),
        "dataset_train_split": st.sampled_from(["train", "other"]),
    },
)


def leaves_steps(options: dict[str, Any]) -> bool:
    """Whether a step comes after the warm-up; TRL also takes a configuration where none does."""
    warmup = options.get("warmup_steps", 0)
    return isinstance(warmup, float) or warmup < options.get("max_steps", 500)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=CONFIGS.filter(leaves_steps), processes=st.integers(1, 4))
def test_a_recipe_has_the_values_that_trl_reads(tmp_path: Path, options: dict[str, Any], processes: int) -> None:
    trl = pytest.importorskip("trl")
    recipe = recipe_of(tmp_path, options, processes)
    parser = trl.TrlParser((trl.ScriptArguments, trl.DPOConfig, trl.ModelConfig))
    data, theirs, model = parser.parse_args_and_config(["--config", str(tmp_path / "config.yaml")])
    train = recipe.train
    micro = theirs.per_device_train_batch_size
    assert (train.micro_batch_size, train.batch_size) == (micro, micro * theirs.gradient_accumulation_steps * processes)
    assert train.max_steps is not None or train.epochs == theirs.num_train_epochs
    assert (train.max_steps or -1) == theirs.max_steps
    assert (train.learning_rate, train.neftune_noise_alpha) == (theirs.learning_rate, theirs.neftune_noise_alpha)
    assert train.schedule == theirs.lr_scheduler_type.value
    assert (train.warmup_steps if train.warmup_steps is not None else train.warmup_ratio) == theirs.warmup_steps
    assert (train.weight_decay, train.max_grad_norm) == (theirs.weight_decay, theirs.max_grad_norm)
    assert train.adam_betas == (theirs.adam_beta1, theirs.adam_beta2)
    assert (train.seed, train.log_every, train.workers) == (
        theirs.seed,
        theirs.logging_steps,
        theirs.dataloader_num_workers,
    )
    assert (recipe.output.save_every, str(recipe.output.dir)) == (theirs.save_steps, theirs.output_dir)
    assert recipe.output.keep == (theirs.save_total_limit or 1_000_000)
    assert (recipe.scoring.activation_checkpointing == "full") is theirs.activation_checkpointing
    assert (recipe.reference == "cached") is theirs.precompute_ref_log_probs
    assert recipe.backend.precision == ("bf16_autocast" if theirs.bf16 else "fp32")  # type: ignore[attr-defined]
    assert (recipe.model.max_length, recipe.model.has_lora) == (theirs.max_length, model.use_peft)
    assert recipe.model.path == model.model_name_or_path  # type: ignore[attr-defined]
    assert (recipe.data.path, recipe.data.split) == (data.dataset_name, data.dataset_train_split)  # type: ignore[attr-defined]
    assert recipe.objective[0].beta == theirs.beta  # type: ignore[attr-defined]
    if model.use_peft:
        lora = recipe.model.lora  # type: ignore[attr-defined]
        dropout = 0.0 if theirs.disable_dropout else model.lora_dropout
        assert (lora.rank, lora.alpha, lora.dropout) == (model.lora_r, model.lora_alpha, dropout)
    else:
        assert {each.mode for each in recipe.model.training.values()} == {"full"}


def test_the_file_of_all_options_that_a_run_leaves_is_read_and_says_little(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    config = trl.DPOConfig(output_dir="runs/x", loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], use_cpu=True)
    (tmp_path / "args.json").write_text(config.to_json_string())
    text, notes = converted(tmp_path / "args.json", "trl", 1, None)
    assert "path: MODEL   # set it" in text
    assert [note.split(":")[0] for note in notes] == [
        "model.path",
        "data.path",
        "loss_type",
        "router_aux_loss_coef",
        "use_cpu",
        "accelerator_config",
    ]


def log1pexp(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return math.exp(-log1pexp(-x))


def of_trl(name: str, r_w: float, r_l: float, lengths: tuple[float, float], beta: float, e: float) -> float:
    """TRL's loss of a pair from its log-ratios, as `DPOTrainer._compute_loss` of trl 1.16 has it."""
    x = beta * (r_w - r_l)
    mean = r_w / lengths[0] - r_l / lengths[1]
    tau = 0.05
    mixed = sigmoid(x / tau)
    values = {
        "sigmoid": lambda: log1pexp(-x),
        "hinge": lambda: max(0.0, 1 - x),
        "ipo": lambda: (mean - 1 / (2 * beta)) ** 2,
        "nca_pair": lambda: log1pexp(-beta * r_w) + 0.5 * log1pexp(beta * r_w) + 0.5 * log1pexp(beta * r_l),
        "bco_pair": lambda: log1pexp(-beta * r_w) + log1pexp(beta * r_l),
        "sppo_hard": lambda: (r_w - 0.5 / beta) ** 2 + (r_l + 0.5 / beta) ** 2,
        "apo_zero": lambda: 1 - sigmoid(beta * r_w) + sigmoid(beta * r_l),
        "apo_down": lambda: sigmoid(beta * r_w) + 1 - sigmoid(x),
        "discopop": lambda: log1pexp(-x) * (1 - mixed) + math.exp(-x) * mixed,
        "sigmoid_norm": lambda: log1pexp(-beta * mean),
        "robust": lambda: ((1 - e) * log1pexp(-x) - e * log1pexp(x)) / (1 - 2 * e),
        "exo_pair": lambda: sigmoid(x) * (-log1pexp(-x) - math.log1p(-e)) + sigmoid(-x) * (-log1pexp(x) - math.log(e)),
    }
    return values[name]()


@settings(max_examples=num_examples(25, 60), deadline=None)
@given(
    scores(PAIR),
    st.sampled_from([*PLAIN, "sigmoid_norm", "robust", "exo_pair"]),
    st.floats(0.01, 1),
    st.floats(0.01, 0.4),
)
def test_a_term_computes_what_the_loss_of_trl_does(found: Scores, name: str, beta: float, smoothing: float) -> None:
    values = LossOptions(beta=beta, label_smoothing=smoothing, smooths_dpo=False, shifts_bco=False)
    made = term_of(name, values)
    assert isinstance(made, dict)
    options = {key: value for key, value in made.items() if key != "loss"}
    term = current_registry().get("loss", made["loss"]).model_validate(options)
    ours = Objective({"it": term})(found).loss  # type: ignore[dict-item]
    ratio = {view: (found.policy[view] - found.reference[view]).tolist() for view in PAIR}
    lengths = {view: found.num_tokens[view].tolist() for view in PAIR}
    for row, value in enumerate(ours.tolist()):
        sizes = (lengths["chosen"][row], lengths["rejected"][row])
        expected = of_trl(name, ratio["chosen"][row], ratio["rejected"][row], sizes, beta, smoothing)
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "term"),
    [
        ({"f_divergence_type": "js_divergence"}, {"loss": "f_dpo", "divergence": "js"}),
        ({"ld_alpha": 0.4}, {"loss": "ld_dpo", "ld_alpha": 0.4}),
        ({"use_weighting": True}, {"loss": "wpo", "clamp": False}),
        ({"loss_type": "robust", "label_smoothing": 0.2}, {"loss": "robust_dpo", "label_smoothing": 0.2}),
        ({"loss_type": ["sft", "hinge"], "loss_weights": [0.5, 2]}, {"anchor": "sft", "weight": 0.5, "label": "sft"}),
        ({"loss_type": "aot_unpaired"}, {"loss": "aot", "paired": False}),
    ],
)
def test_a_loss_becomes_a_term_with_its_parameters(
    tmp_path: Path, options: dict[str, Any], term: dict[str, Any]
) -> None:
    first = recipe_of(tmp_path, {"output_dir": "x"} | options, trainer="trl").to_dict()["objective"][0]
    assert term.items() <= first.items()


def test_label_smoothing_that_trl_does_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("label_smoothing: 0.1\nloss_type: sigmoid\n")
    text, notes = converted(tmp_path / "c.yaml", None, None, None)
    assert "label_smoothing: 0.0" in text
    assert any(note.startswith("label_smoothing: TRL's loss 'sigmoid' does not read it") for note in notes)


def test_a_split_for_tests_becomes_the_validation_and_the_best_model_is_kept(tmp_path: Path) -> None:
    best = {"load_best_model_at_end": True, "metric_for_best_model": "rewards/accuracies"}
    options = {"dataset_name": "some/pairs", "eval_strategy": "steps", "eval_steps": 25, "save_steps": 25} | best
    recipe = recipe_of(tmp_path, options)
    assert recipe.validation is not None
    assert recipe.validation.split == "test"  # type: ignore[attr-defined]
    assert recipe.evaluators[0].every == 25  # type: ignore[attr-defined]
    assert recipe.output.keep_best is not None
    assert recipe.output.keep_best.metric == "eval/preference/rewards/accuracy/text"


@pytest.mark.parametrize("name", ["pairs.jsonl", "./some/pairs", "all/of/these.parquet", "folder", ""])
def test_a_file_has_no_split_for_tests_so_rows_are_held_out_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/pairs.jsonl").touch()
    Path("c.yaml").write_text(f"dataset_name: '{name}'\neval_strategy: epoch\n")
    text, notes = converted(Path("c.yaml"), None, None, None)
    recipe = build_recipe(document_of(YAML(typ="safe", pure=True).load(text)), 1)
    assert recipe.validation is None
    assert recipe.data.hold_out is not None
    assert recipe.data.hold_out.share == 0.02
    assert any("a file has no split 'test'" in note and "section validation" in note for note in notes)


MIXTURE = {"datasets": [{"path": "some/pairs"}, {"path": "other/pairs", "split": "train", "fraction": 0.5}]}


@pytest.mark.parametrize(
    ("more", "share"),
    [
        ({"test_split_size": 0.1, "eval_strategy": "epoch"}, 0.1),
        ({"test_split_size": 0.1}, 0.1),
        ({"eval_strategy": "epoch"}, 0.02),
        ({}, None),
    ],
)
def test_a_mixture_holds_out_what_it_splits_off(tmp_path: Path, more: dict[str, Any], share: float | None) -> None:
    recipe = recipe_of(tmp_path, MIXTURE | more, trainer="trl")
    assert recipe.data.component_name() == "mixture"
    assert (None if recipe.data.hold_out is None else recipe.data.hold_out.share) == share
    _, notes = converted(tmp_path / "config.yaml", "trl", None, None)
    assert any(note.startswith("datasets: other/pairs: fraction is not carried over") for note in notes)
    assert any("the recipe holds 2 %" in note for note in notes) == (share == 0.02)


def test_a_folder_with_files_of_the_split_for_tests_becomes_the_validation(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test-00000.parquet").touch()
    recipe = recipe_of(tmp_path, {"dataset_name": str(tmp_path), "eval_strategy": "epoch"})
    assert recipe.validation is not None
    assert recipe.data.hold_out is None


def test_a_dropout_of_lora_that_trl_switches_off_is_told(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("dataset_name: a/b\nuse_peft: true\nlora_target_modules: all-linear\nlora_dropout: 0.1\n")
    _, notes = converted(file, "trl", None, None)
    told = [note for note in notes if note.startswith("lora_dropout: 0.1 is 0.0 in the recipe")]
    assert len(told) == 1
    assert told[0].endswith("model.lora.dropout: 0.1 would use it")
    file.write_text(file.read_text() + "disable_dropout: false\n")
    text, notes = converted(file, "trl", None, None)
    assert "dropout: 0.1" in text
    assert not any(note.startswith("lora_dropout") for note in notes)


def test_a_warm_up_as_long_as_the_run_is_refused(tmp_path: Path) -> None:
    options = {"model_name_or_path": "some/model", "dataset_name": "some/pairs", "max_steps": 10, "warmup_steps": 10}
    with pytest.raises(RecipeError, match="no step would come after the warm-up: the run has 10 steps"):
        recipe_of(tmp_path, options, 1)
