"""Recipes: what they say, what they extend, and every way in which they can be wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.paths import LLAVA_MDPO, RECIPES

from mdpo_core import RecipeError, load_recipe

GOOD = """\
model: {adapter: digits}
data: {reader: digits}
corruptions:
  crop: {corruption: random_crop}
objective:
  - {loss: dpo, beta: 0.1}
  - {loss: dpo, over: chosen@crop}
backend: {backend: local}
output: {dir: runs/x}
"""


def problems(tmp_path: Path, text: str, processes: int = 1) -> str:
    """The error of a recipe, with the file's folder left out."""
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, processes=processes)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_a_good_recipe_is_printable_and_survives_its_own_yaml(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    recipe = load_recipe(file)
    again = tmp_path / "again.yaml"
    with again.open("w") as out:
        YAML().dump(recipe.to_dict(), out)
    assert load_recipe(again) == recipe
    assert "beta=0.1" in str(recipe)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "beta: 0.1",
            "bta: 0.1",
            "bad.yaml:6: objective.0.bta: unknown option; did you mean 'beta'?  "
            "(dpo: beta, label, label_smoothing, over, prefer, reference_free, scored, weight)",
        ),
        ("output:", "outptu:", "bad.yaml:9: outptu: unknown section; did you mean 'output'?"),
        ("beta: 0.1", "beta: high", "bad.yaml:6: objective.0.beta: input should be a valid number, found 'high'"),
        ("beta: 0.1", "beta: '0.1'", "bad.yaml:6: objective.0.beta: input should be a valid number, found '0.1'"),
        ("beta: 0.1", "beta: true", "bad.yaml:6: objective.0.beta: input should be a valid number, found true"),
        (
            "output:",
            "scoring: {activation_checkpointing: half}\noutput:",
            "bad.yaml:9: scoring.activation_checkpointing: input should be 'off' or 'full', or a valid integer; "
            "found 'half'",
        ),
        ("adapter: digits", "adapter: digits, lora: 64", "model.lora: input should be a mapping of options, found 64"),
        ("beta: 0.1", "beta: -1", "bad.yaml:6: objective.0.beta: input should be greater than 0, found -1"),
        (
            "random_crop",
            "random_corp",
            "bad.yaml:4: corruptions.crop.corruption: unknown corruption 'random_corp'; did",
        ),
        ("{loss: dpo, beta: 0.1}", "{beta: 0.1}", "bad.yaml:6: objective.0: must name one component: {loss: NAME"),
        ("{loss: dpo, beta: 0.1}", "{1: dpo}", "bad.yaml:6: objective.0: must name one component: {loss: NAME"),
        (
            "{loss: dpo, beta: 0.1}",
            "{loss: dpo, anchor: reward}",
            "objective.0: must name one component: {loss: NAME, ...} or {anchor: NAME, ...}, found loss and anchor",
        ),
        ("over: chosen@crop", "over: chosen", "bad.yaml:7: objective.1: compares the view 'chosen' with itself, which"),
        ("{backend: local}", "local", "bad.yaml:8: backend: must be {backend: NAME, ...}, found 'local'"),
        (
            "chosen@crop",
            "chosen@corp",
            "bad.yaml:7: objective.1.over: view 'chosen@corp' needs the condition 'corp' under corruptions; did you "
            "mean 'crop'?  (declared: crop)",
        ),
        (
            "chosen@crop",
            "cho sen",
            "bad.yaml:7: objective.1.over: 'cho sen' is not a valid name of a response or condition",
        ),
        (
            "{adapter: digits}",
            "{adapter: digits, lora: {rnk: 2}}",
            "model.lora.rnk: unknown option; did you mean 'rank'?",
        ),
        (
            "crop: {",
            "clean: {",
            "corruptions.clean: the name 'clean' is reserved for the original image; choose another name",
        ),
        ("dir: runs/x", "dirr: runs/x", "bad.yaml:9: output.dir: missing: the run directory"),
        ("beta: 0.1", "beta: 0.1, beta: 0.2", "bad.yaml:6: not valid YAML: found duplicate key"),
        ("{backend: local}", "{backend: local}\nreference: adapter_off", "reference: 'adapter_off' needs model.lora"),
        (
            "{backend: local}",
            "{backend: local}\nscoring: {max_logits: 0}",
            "bad.yaml:9: scoring.max_logits: input should be 'auto', or greater than 0; found 0",
        ),
        (
            "{backend: local}",
            "{backend: local, precision: bf16}",
            "bad.yaml:8: backend.precision: bf16 keeps trained weights in bfloat16, where most of AdamW's updates "
            "round to nothing; use bf16_autocast, which keeps them in float32, or the backend deepspeed, which updates "
            "a float32 copy  (not through LoRA train: the vision part; the projector part; the language part)",
        ),
        (
            "{backend: local}",
            "{backend: local}\nscoring: {compile: true, share_prefix: false}",
            "bad.yaml:9: scoring.compile: only rows with shared prompts are compiled, and scoring.share_prefix is "
            "false; set scoring.compile: false",
        ),
        (
            "{backend: local}",
            "{backend: deepspeed, zero_stage: 3}\nscoring: {compile: true}",
            "bad.yaml:9: scoring.compile: ZeRO 3 gathers weights inside of layers, which torch does not compile "
            "(zero_stage 2 and fsdp work); set scoring.compile: false",
        ),
        (
            "{adapter: digits}",
            "{adapter: llava, path: nowhere, lora: {}, quantize: nf4}\nscoring: {compile: true}",
            "scoring.compile: layers in 4 bits (model.quantize) have their own kernels, which torch does not compile; "
            "set scoring.compile: false",
        ),
        (
            "{adapter: digits}",
            "{adapter: llava, path: nowhere, lora: {dora: true}}\nscoring: {compile: true}",
            "scoring.compile: torch cannot compile the layers of DoRA (lora.dora); set scoring.compile: false",
        ),
        (
            "{backend: local}",
            "{backend: local}\nreference: cache",
            "bad.yaml:9: reference: 'cache' is not a valid reference",
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_path_and_a_way_out(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in problems(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ("lora: {save: [lm_head, norm]}", "lm_head, norm of the language part"),
        ("lora: {}, parts: {projector: {train: full}}", "the projector part"),
    ],
)
def test_bfloat16_weights_train_beside_lora_no_more_than_alone(tmp_path: Path, options: str, weights: str) -> None:
    text = GOOD.replace("{backend: local}", "{backend: fsdp, precision: bf16}")
    found = problems(tmp_path, text.replace("{adapter: digits", f"{{adapter: digits, {options}"))
    assert f"use bf16_mixed, which keeps them in float32  (not through LoRA train: {weights})" in found
    only_lora = tmp_path / "lora.yaml"
    only_lora.write_text(text.replace("{adapter: digits", "{adapter: digits, lora: {}"))
    load_recipe(only_lora)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("beta: 0.1", "bta: 0.1").replace("chosen@crop", "chosen@corp").replace("digits}", "digts}")
    found = problems(tmp_path, text + "train: {epochs: 0}\n").splitlines()
    assert len(found) == 5
    assert all(line.startswith("bad.yaml:") for line in found)


def test_a_missing_section_is_named_with_what_it_is_for(tmp_path: Path) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith("data"))
    assert "section 'data' is missing: the preference pairs" in problems(tmp_path, text)


@pytest.mark.parametrize(("batch", "micro", "processes"), [(10, 4, 1), (32, 4, 3), (2, 4, 1)])
def test_a_batch_that_micro_batches_do_not_fill_is_refused(
    tmp_path: Path, batch: int, micro: int, processes: int
) -> None:
    text = GOOD + f"train: {{batch_size: {batch}, micro_batch_size: {micro}}}\n"
    message = f"{batch} is not divisible by micro_batch_size times processes ({micro} x {processes})"
    assert message in problems(tmp_path, text, processes)


def test_a_backend_of_one_process_refuses_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None of ours is, and a third party's may be.
    monkeypatch.setattr("mdpo_local.Local.multi_process", False)
    assert "backend: 'local' runs in one process, not in 2" in problems(tmp_path, GOOD, processes=2)


@pytest.mark.parametrize("text", ["", "- a list", "model: [unclosed", "model: !!python/object:os.system {}"])
def test_a_file_that_is_no_recipe_is_refused_without_a_traceback(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text).startswith("bad.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: the file does not exist"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD + "train: {learning_rate: 1e-5}\n")
    assert load_recipe(file).train.learning_rate == 1e-5


def test_a_recipe_changes_the_one_it_extends_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD + "train: {epochs: 3, batch_size: 8}\n")
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\ntrain: {epochs: 1}\nobjective:\n  - {anchor: reward}\n")
    recipe = load_recipe(child)
    assert (recipe.train.epochs, recipe.train.batch_size, len(recipe.objective)) == (1, 8, 1)


def test_component_does_not_inherit_options_of_one_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        GOOD.replace("{corruption: random_crop}", "{corruption: random_crop, area: [1, 1]}")
    )
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\ncorruptions:\n  crop: {corruption: blank}\n")
    assert type(load_recipe(child).corruptions["crop"]).__name__ == "Blank"


def test_mistake_in_extended_recipe_is_located_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("beta", "bta"))
    assert "base.yaml:6: objective.0.bta" in problems(tmp_path, "extends: base.yaml\n")


@pytest.mark.parametrize("is_link", [False, True])
def test_a_recipe_of_the_folder_above_is_named_by_its_short_path(is_link: bool, tmp_path: Path) -> None:
    """Unless the folder is a link, above which another folder lies."""
    inner = tmp_path / "other" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "methods").symlink_to(inner) if is_link else (tmp_path / "methods").mkdir()
    (inner.parent if is_link else tmp_path).joinpath("base.yaml").write_text(GOOD.replace("beta", "bta"))
    child = tmp_path / "methods" / "child.yaml"
    child.write_text("extends: ../base.yaml\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(child)
    shown = f"{tmp_path}/methods/../base.yaml" if is_link else f"{tmp_path}/base.yaml"
    assert str(caught.value).startswith(f"{shown}:6: objective.0.bta")


@pytest.mark.parametrize("base", ["bad.yaml", "missing.yaml"])
def test_extending_itself_or_nothing_is_refused(tmp_path: Path, base: str) -> None:
    assert "extends" in problems(tmp_path, f"extends: {base}\n")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.epochs", "write it as section.key=value"),
        ("train.epocs=2", "the change train.epocs=2: train.epocs: unknown option; did you mean 'epochs'?"),
        (
            "objective.7.beta=2",
            "'objective.7' does not exist: 'objective' has 3 items, 0 to 2, and * is all of them",
        ),
        ("train.*.more=2", "'train.epochs.more' does not exist"),
        ("objective.*.bta=2", "objective.2.bta: unknown option; did you mean 'beta'?"),
        ("train.epochs=two", "the change train.epochs=two: train.epochs: input should be a valid integer, found 'two'"),
    ],
)
def test_a_wrong_assignment_is_named(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", [assignment])
    assert message in str(caught.value)


@given(beta=st.floats(1e-6, 1e3), position=st.integers(0, 2))
def test_a_star_sets_every_item_and_a_number_one(beta: float, position: int) -> None:
    before = load_recipe(LLAVA_MDPO).objective
    everywhere = load_recipe(LLAVA_MDPO, [f"objective.*.beta={beta!r}"]).objective
    assert [term.model_dump()["beta"] for term in everywhere] == [beta] * 3
    one = load_recipe(LLAVA_MDPO, ["objective.*.beta=0.3", f"objective.{position}.beta={beta!r}"]).objective
    assert [term.model_dump()["beta"] for term in one] == [beta if at == position else 0.3 for at in range(3)]
    assert [term.label for term in one] == [term.label for term in before]


def test_a_star_over_no_items_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'evaluators\.\*' does not exist: 'evaluators' has no items"):
        load_recipe(LLAVA_MDPO, ["evaluators=[]", "evaluators.*.every=2"])


def test_a_star_also_means_every_key_and_gives_each_a_value_of_its_own() -> None:
    changes = [
        "corruptions.other={corruption: random_crop}",
        "corruptions.*.area=[0.1, 0.3]",
        "corruptions.*.area.0=0.2",
    ]
    found = load_recipe(LLAVA_MDPO, [*changes, "corruptions.crop.area.1=0.4"]).corruptions
    assert {name: each.model_dump()["area"] for name, each in found.items()} == {
        "crop": (0.2, 0.4),
        "other": (0.2, 0.3),
    }


@given(beta=st.floats(1e-6, 1e3), epochs=st.integers(1, 100))
def test_assignments_are_typed_as_in_yaml(beta: float, epochs: int) -> None:
    recipe = load_recipe(RECIPES / "quickstart.yaml", [f"objective.0.beta={beta!r}", f"train.epochs={epochs}"])
    assert (recipe.objective[0].model_dump()["beta"], recipe.train.epochs) == (beta, epochs)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            "model",
            "data",
            "corruptions",
            "objective",
            "train",
            "reference",
            "backend",
            "evaluators",
            "trackers",
            "output",
        ]
    ),
)
def test_no_section_value_raises_anything_but_a_recipe_error(value: Any, section: str) -> None:
    from mdpo_core.recipe.loading import build_recipe
    from mdpo_core.recipe.yaml_document import Document, Node

    def tree(value: Any) -> Node:
        if isinstance(value, (dict, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            return Node("any.yaml", children={key: tree(item) for key, item in items}, is_list=isinstance(value, list))
        return Node("any.yaml", value)

    data = YAML(typ="safe").load(GOOD)
    document = Document(tree({**data, section: value}), "any.yaml")
    with contextlib.suppress(RecipeError):
        build_recipe(document)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "data.bad_rows={quarantine: 5}",
            "data.bad_rows.quarantine: input should be less than 1, found 5; 5 % is 0.05",
        ),
        ("data.bad_rows={quarantine: 0}", "data.bad_rows.quarantine: input should be greater than 0, found 0"),
        ("data.bad_rows={}", "data.bad_rows.quarantine: missing: the share of the rows that may be bad"),
        (
            "data.bad_rows=quarntine",
            "data.bad_rows: input should be 'stop' or 'quarantine', or a mapping of options; found 'quarntine'; did "
            "you mean 'quarantine'?",
        ),
        ("data.check=1", "data.check: input should be 'all' or 'none', or less than 1; found 1; 1 % is 0.01"),
        ("data.check=0", "data.check: input should be 'all' or 'none', or greater than 0; found 0"),
        (
            "data.check=al",
            "data.check: input should be 'all' or 'none', or a valid number; found 'al'; did you mean 'all'?",
        ),
        ("data.check=true", "data.check: input should be 'all' or 'none', or a valid number; found true"),
        ("data.hold_out={share: 1.5}", "data.hold_out.share: input should be less than 1, found 1.5; 1.5 % is 0.015"),
        (
            "data.hold_out={share: 0.1, rows: 5}",
            "data.hold_out: say how many rows are held out: share: 0.05, or rows: 500, and not both",
        ),
        (
            "data.duplicates=quarantin",
            "data.duplicates: input should be 'keep' or 'quarantine', found 'quarantin'; did",
        ),
        ("scoring.max_logits=-1", "scoring.max_logits: input should be 'auto', or greater than 0; found -1"),
    ],
)
def test_a_wrong_option_has_one_sentence_with_what_would_work(change: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", [change])
    [problem] = caught.value.problems
    assert str(problem).startswith(f"the change {change}: {sentence}")
