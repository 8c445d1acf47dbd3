"""Parts of a model that train, each in its own way: what the recipe says, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file
from support.builders.llava_adapter import adapter, example, logits
from support.builders.small_llava import build_llava
from support.processes.launching import RECIPE, contents, launch, records
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from mdpo_core import Placement, RecipeError, component, load_recipe, run
from mdpo_core.storage.export import export_run
from mdpo_core.testing import check_adapter
from mdpo_core.types.layout import pad_view

NONE = "nothing"
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}
SMALL = {"rank": 2, "alpha": 2, "dropout": 0.0}
# Options, and what they let train: names of the plain model's parameters, of modules with adapters, as patterns.
SETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "full": ({}, r"projector|language_model|lm_head", NONE),
    "projector": ({"freeze": ["vision", "language"]}, "projector", NONE),
    "whole": (
        {"parts": {"vision": {"train": "full", "learning_rate": 1e-6}}},
        r"^(?!.*vision_tower.*(layers.1|post_l))",
        NONE,
    ),
    "lora": ({"lora": LORA}, NONE, r"language_model.*_proj"),
    "dora": ({"lora": LORA | {"dora": True}}, NONE, r"language_model.*_proj"),
    "rslora": ({"lora": LORA | {"rslora": True}}, NONE, r"language_model.*_proj"),
    "beside a projector": (
        {"lora": LORA, "parts": {"projector": {"train": "full"}}},
        "projector",
        "language_model.*_proj",
    ),
    "beside a tower": (
        {"lora": LORA, "parts": {"vision": {"train": "full"}}},
        r"^(?!.*(layers.1|post_l)).*vision_tower",
        "language_model.*_proj",
    ),
    "everywhere": (
        {"lora": LORA, "parts": {"vision": {"train": "lora", "lora": SMALL}, "projector": {"train": "lora"}}},
        NONE,
        r"vision_tower.*layers.0.*(_proj|fc)|projector.linear|language_model.*_proj",
    ),
    "vision alone": (
        {"freeze": ["projector", "language"], "parts": {"vision": {"train": "lora", "lora": SMALL | {"dora": True}}}},
        NONE,
        r"vision_tower.*layers.0.*(_proj|fc)",
    ),
    "some": (
        {"lora": LORA | {"targets": ["q_proj", "layers.0.mlp.*"]}},
        NONE,
        r"language_model.*q_proj|language_model.layers.0.mlp.*_proj",
    ),
    "more": (
        {"lora": LORA | {"targets": ["all-linear", "lm_head", "embed_tokens"]}},
        NONE,
        "language_model.*_proj|lm_head|embed_tokens",
    ),
    "saved": (
        {"lora": LORA | {"save": ["lm_head", "embed_tokens", "*norm"]}},
        "lm_head|embed_tokens|language_model.*norm",
        "language_model.*_proj",
    ),
    "convolution": (
        {
            "lora": LORA | {"rslora": True, "targets": ["v_proj"]},
            "parts": {
                "vision": {
                    "train": "lora",
                    "lora": LORA | {"rslora": True, "targets": ["patch_embedding", "fc1"], "save": ["pre_layrnorm"]},
                }
            },
        },
        "pre_layrnorm",
        "language_model.*v_proj|patch_embedding|vision_tower.*layers.0.*fc1",
    ),
}
LORA_SETS = {name: options for name, (options, _, _) in SETS.items() if "lora" in str(options)}


def plain(llava: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(llava)


def expected(name: str, llava: Path) -> set[str]:
    """The plain model's parameters that a set of options trains, or gives an adapter."""
    _, full, adapted = SETS[name]
    model = plain(llava)
    whole = {each for each, _ in model.named_parameters() if re.search(full, each)}
    return whole | {f"{each} adapter" for each, _ in model.named_modules() if re.search(f"({adapted})[^.]*$", each)}


def trained(name: str) -> str:
    """The plain model's parameter that a trained one is, or the module that it is an adapter of."""
    plain_name = name.removeprefix("base_model.model.")
    for word in (".lora_A", ".lora_B", ".lora_embedding", ".lora_magnitude_vector"):
        if word in plain_name:
            return f"{plain_name.partition(word)[0]} adapter"
    return plain_name.replace("modules_to_save.default.", "")


def loss(model: Any, rows: list[Any]) -> Tensor:
    """Depends on the features of a picture and on the tokens of two rows."""
    padded = pad_view([row.token_ids for row in rows], [row.token_ids[:0] for row in rows])
    images = model.encode_images([image for row in rows for image in row.images])
    return model.logits(model.hidden_states(padded, images)).log_softmax(-1)[..., 5].sum()  # type: ignore[no-any-return]


def after_a_step(model: Any, prompt: Any) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD([value for value in model.module.parameters() if value.requires_grad], lr=0.01)
    for _ in range(2):  # only the second reaches LoRA's A, as B is zero before
        loss(model, [prompt, prompt]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}


@pytest.mark.parametrize("name", SETS)
def test_what_the_recipe_says_trains_and_nothing_else(name: str, llava: Path, photographs: Path) -> None:
    torch.manual_seed(0)
    made = adapter(llava, **SETS[name][0])
    model, prompt = made.load(Placement()), made.encoder().encode_prompt(example(photographs))
    before = {each: value.detach().clone() for each, value in model.module.named_parameters()}
    after = after_a_step(model, prompt)
    changed = {trained(each) for each, value in after.items() if not value.equal(before[each])}
    assert changed == expected(name, llava)


@pytest.mark.parametrize(
    "name",
    [name if name in ("saved", "convolution") else pytest.param(name, marks=pytest.mark.long) for name in LORA_SETS],
)
def test_the_contract_of_adapters_holds_for_every_set(name: str, llava: Path, photographs: Path) -> None:
    def reload(folder: Path) -> nn.Module:
        loaded: nn.Module = PeftModel.from_pretrained(plain(llava), folder)
        return loaded

    rows = [example(photographs), example(photographs, 0)]
    check_adapter(adapter(llava, **LORA_SETS[name]), rows, reload)


@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_dora_and_rslora_are_pefts(kind: str, llava: Path, photographs: Path) -> None:
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*language_model.*_proj",
        use_dora=kind == "dora",
        use_rslora=kind == "rslora",
        task_type="CAUSAL_LM",
    )
    made = adapter(llava, lora={"rank": 4, "alpha": 8, "dropout": 0.0, kind: True})
    prompt = made.encoder().encode_prompt(example(photographs))
    ours, pefts = made.load(Placement()), get_peft_model(plain(llava), config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in ours.module.named_parameters():
            if value.requires_grad:
                value.add_(torch.randn_like(value) * 0.1)
                pefts.get_parameter(name).copy_(value)
        wanted = pefts(input_ids=prompt.token_ids[None], **prompt.images[0]).logits
    torch.testing.assert_close(logits(ours, prompt), wanted, atol=1e-5, rtol=0)


def test_dropout_is_each_part_s_own(llava: Path) -> None:
    parts = {"vision": {"train": "lora", "lora": SMALL | {"dropout": 0.3}}, "projector": {"train": "lora"}}
    model = adapter(llava, lora=LORA, parts=parts).load(Placement())
    found: dict[str, set[float]] = {"vision_tower": set(), "multi_modal_projector": set(), "language_model": set()}
    for name, module in model.module.named_modules():
        if isinstance(module, nn.Dropout) and "lora" in name:
            found[next(part for part in found if part in name)].add(module.p)
    assert found == {"vision_tower": {0.3}, "multi_modal_projector": {0.1}, "language_model": {0.1}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": {"vision": {"lora": SMALL}}}, "lora needs train: lora beside it"),
        ({"parts": {"vision": {"train": "frozen", "learning_rate": 1e-5}}}, "has no effect with train: frozen"),
        ({"parts": {"vision": {"learning_rate": 1e-5}}}, r"parts.vision.learning_rate: this part is frozen"),
        ({"parts": {"vision": {"train": "lora"}}}, "parts.vision.train: lora needs parts.vision.lora, or the option"),
        (
            {"parts": {"vision": {"train": "lora", "lora": SMALL}}},
            "the language model cannot train in full while another",
        ),
        ({"parts": {"language": {"train": "lora", "lora": SMALL}}}, "parts.language.lora: .* set it instead"),
        ({"parts": {"language": {"train": "lora"}}}, "parts.language.train: lora needs the option lora of"),
        ({"lora": LORA, "parts": {"language": {"train": "full"}}}, "train: full contradicts lora, which"),
        ({"lora": LORA, "parts": {"language": {"train": "frozen"}}}, "train: frozen contradicts lora, which"),
        (
            {"lora": LORA | {"dora": True}, "parts": {"vision": {"train": "lora", "lora": SMALL}}},
            "dora must be the same in all parts that have LoRA",
        ),
        (
            {"lora": LORA | {"rslora": True}, "parts": {"vision": {"train": "lora", "lora": SMALL}}},
            "rslora must be the same",
        ),
        ({"freeze": ["vision", "projector", "language"]}, "freeze names every part, so nothing would train"),
        ({"freeze": ["projector", "language"], "parts": {"vision": {"train": "frozen"}}}, "so nothing would train"),
        ({"lora": LORA | {"targets": []}}, "at least 1 item"),
    ],
)
def test_what_does_not_fit_together_is_refused_without_any_model(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        component("adapter", "llava", path="nowhere", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lora": LORA | {"targets": ["q_prj"]}},
            r"model.lora.targets: 'q_prj' matches no module of the language part; did you mean 'q_proj'\?  "
            r"\(modules: .*q_proj, k_proj",
        ),
        ({"lora": LORA | {"targets": ["layers.7.*"]}}, "'layers.7.*' matches no module of the language part"),
        ({"lora": LORA | {"targets": ["fc1"]}}, "but one of the vision part; set model.parts.vision for that"),
        ({"lora": LORA | {"targets": ["mlp"]}}, r"'mlp' matches .*mlp \(LlamaMLP\), which LoRA cannot adapt"),
        ({"lora": LORA | {"save": ["lmhead"]}}, "model.lora.save: 'lmhead' matches no .*; did you mean 'lm_head'"),
        ({"lora": LORA | {"save": ["layers"]}}, r"matches .*layers \(ModuleList\); name the modules in it: layers.\*"),
        (
            {"lora": LORA | {"save": ["lm_hed"], "targets": ["q_prj"]}},
            "(?s)model.lora.save: 'lm_hed' .*model.lora.targets: 'q_prj'",
        ),
        (
            {"lora": LORA, "parts": {"vision": {"train": "lora", "lora": SMALL | {"targets": ["layers.1.mlp.*"]}}}},
            r"model.parts.vision.lora.targets: 'layers.1.mlp.\*' matches .*layers.1.mlp.fc1, which no gradient reaches",
        ),
        (
            {"lora": LORA, "parts": {"vision": {"train": "lora", "lora": SMALL | {"save": ["post_layernorm"]}}}},
            "model.parts.vision.lora.save: .* has weights that no gradient reaches",
        ),
    ],
)
def test_name_that_fits_no_module_is_refused_before_loading(options: dict[str, Any], message: str, llava: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        adapter(llava, **options).check()


def test_weights_that_are_two_things_at_once_cannot_train_as_one(tmp_path: Path) -> None:
    folder = build_llava(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    for options in ({"save": ["lm_head"]}, {"targets": ["all-linear", "embed_tokens"]}):
        with pytest.raises(RecipeError, match=r"whose weights are also .*: neither can train without the other"):
            adapter(folder, lora=LORA | options).check()
    adapter(folder, lora=LORA).check()


ONE_STEP = [
    "train.epochs=1",
    "train.batch_size=10",
    "train.micro_batch_size=5",
    "train.schedule=constant",
    "train.warmup_ratio=0.0",
    "model.freeze=[]",
    "model.lora=null",
]
RATES = {"vision": 3e-4, "projector": 2e-3, "language": 1e-3}
MIXED = {
    "lora": {"rank": 4, "dropout": 0.1, "dora": True, "save": ["lm_head"]},
    "parts": {
        "vision": {"train": "lora", "lora": {"rank": 2, "dora": True}, "learning_rate": 3e-4},
        "projector": {"train": "full", "learning_rate": 1e-5},
    },
}


def run_of(changes: list[str], folder: Path, *more: str) -> Path:
    kept = [change for change in changes if not change.startswith("model.lora")]
    return run(load_recipe(RECIPE, [*kept, "trackers=[]", *more, f"output.dir={folder}"])).run_dir


@pytest.mark.long
def test_each_part_moves_as_in_a_run_at_its_own_learning_rate(changes: list[str], llava: Path, tmp_path: Path) -> None:
    def moved(name: str, *more: str) -> dict[str, Tensor]:
        found = plain(run_of(changes, tmp_path / name, *ONE_STEP, *more) / "final")
        return {each: value - before[each] for each, value in found.state_dict().items()}

    before = plain(llava).state_dict()
    own = [f"model.parts.{part}.learning_rate={RATES[part]!r}" for part in ("vision", "projector")]
    mixed = moved("mixed", *own, f"train.learning_rate={RATES['language']!r}")
    for part, names in adapter(llava).load(Placement()).parts().items():
        alone = moved(part, f"train.learning_rate={RATES[part]!r}")
        assert any(bool(alone[name].any()) for name in names)
        for name in names:
            torch.testing.assert_close(mixed[name], alone[name], atol=1e-9, rtol=1e-3)


@pytest.fixture(scope="module")
def mixed_run(changes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps with adapters of two parts and whole modules of two; every checkpoint is there."""
    folder = tmp_path_factory.mktemp("mixed") / "run"
    return run_of(
        changes, folder, f"model.lora={json.dumps(MIXED['lora'])}", f"model.parts={json.dumps(MIXED['parts'])}"
    )


@pytest.mark.long
def test_a_run_of_many_ways_to_train_resumes_to_the_bit(mixed_run: Path, tmp_path: Path) -> None:
    again = shutil.copytree(mixed_run, tmp_path / "again")
    shutil.rmtree(again / "final")
    shutil.rmtree(again / "checkpoints" / "step-000006")
    run(load_recipe(again / "recipe.yaml"), run_dir=again, resume=True)
    assert contents(again / "final") == contents(mixed_run / "final")


@pytest.mark.long
def test_mixed_training_exports_for_peft_and_merged(mixed_run: Path, llava: Path, tmp_path: Path) -> None:
    """What trained in many ways is exported for peft and merged."""
    for merge in (False, True):
        export_run(mixed_run, tmp_path / str(merge), merge=merge)
    saved = load_file(tmp_path / "False" / "adapter_model.safetensors")
    assert sum("lm_head" in name or "multi_modal_projector" in name for name in saved) == 5
    loaded, merged = PeftModel.from_pretrained(plain(llava), tmp_path / "False"), plain(tmp_path / "True")
    inputs = {"input_ids": torch.tensor([[1, 3, 3, 3, 3, 40, 50]]), "pixel_values": torch.ones(1, 3, 28, 28)}
    with torch.no_grad():
        found, wanted, before = (model(**inputs).logits for model in (merged, loaded, plain(llava)))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert float((wanted - before).abs().max()) > 1e-3
    original = {name: value.shape for name, value in plain(llava).state_dict().items()}
    assert {name: value.shape for name, value in merged.state_dict().items()} == original


@pytest.mark.long
def test_the_reference_is_the_model_before_any_part_trained(
    changes: list[str], mixed_run: Path, tmp_path: Path
) -> None:
    """A cached reference is computed before training, one by switching off in every step."""
    options = [f"model.lora={json.dumps(MIXED['lora'])}", f"model.parts={json.dumps(MIXED['parts'])}"]
    for reference in ("cached", "frozen_copy"):
        other = run_of(changes, tmp_path / reference, *options, f"reference={reference}")
        for mine, theirs in zip(records(other), records(mixed_run), strict=True):
            for name in ("loss", "grad_norm", "rewards/chosen", "rewards/rejected"):
                assert mine[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), (reference, mine["step"], name)


@pytest.mark.long
def test_a_run_prints_what_trains(changes: list[str], tmp_path: Path) -> None:
    lora = "model.lora={rank: 4}"
    kept = [change for change in changes if not change.startswith("model.lora")]
    done = launch([*kept, lora, "model.parts.projector.train=full", "train.epochs=1"], tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = [re.findall(r"[\w.,%+-]+", line) for line in done.stdout.splitlines() if "%" in line]
    rows = {words[0]: words for words in lines}
    assert [rows[part][-2:] for part in ("projector", "language")] == [["50.00%", "0.001"], ["4", "0.001"]]
    assert rows["vision"][1] == "0"


def test_the_model_of_the_quickstart_takes_parts_too() -> None:
    digits = component("adapter", "digits", lora={"rank": 2}, parts={"projector": {"train": "full"}})
    model = digits.load(Placement())  # type: ignore[attr-defined]
    trains = {name for name, value in model.module.named_parameters() if value.requires_grad}
    assert any("projector" in name for name in trains)
    assert all("lora" in name or "projector" in name for name in trains)
