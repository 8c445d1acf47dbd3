"""YAML that is not a recipe is refused with file and line, whatever the YAML library would do with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.paths import RECIPES

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


def refusal(tmp_path: Path, recipe: str | bytes) -> str:
    """The error of a recipe, with the file's folder left out."""
    file = tmp_path / "bad.yaml"
    file.write_bytes(recipe.encode() if isinstance(recipe, str) else recipe)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("!x 5", "the tag '!x' has no meaning in a recipe here; remove it"),
        ("!!omap [a: 1]", "the tag '!!omap' has no meaning"),
        ("!!python/object/apply:os.system ['true']", "the tag '!!python/object/apply:os.system' has no meaning"),
        ("!!int abc", "'abc' is not a valid int"),
        ("2020-13-45", "objective.0.beta: input should be a valid number, found '2020-13-45'"),
        ("9" * 5000, "is not a valid int"),
        ("9" * 26, "a whole number of more than 18 digits"),
        ('"\\U00110000"', "the YAML library fails here (ValueError"),
        ('"\\ud800"', "contains the character U+D800, which is not text; remove it"),
        ('"\\0"', "contains the character U+0000"),
        ("[" * 500 + "]" * 500, "more than 40 levels of nesting"),
        ("[" * 2000, "more than 40 levels of nesting"),
        ("&a [*a]", "the anchor '&a' contains an alias of itself"),
        ("&a {<<: *a}", "the anchor '&a' contains an alias of itself"),
        ("{? [a] : 1}", "a key must be a name, not a list or a mapping"),
        ("{<<: 5}", "the merge key '<<' takes a mapping, or a list of mappings: <<: *common"),
        (
            "{null: 1}",
            "objective.0.beta: must be a number, {column: NAME} or {strength: NAME, ...}; found the dict {'null'",
        ),
        ("{2020-01-01: 1, 5: 2}", "found the dict {'2020-01-01': 1, '5': 2}"),
        ("1.0e+308", "objective.0.beta: input should be at most 1e+30 in size, found 1e+308"),
        ("1e400", "objective.0.beta: input should be a finite number, found inf"),
    ],
)
def test_an_odd_value_is_refused_on_its_line(tmp_path: Path, odd: str, message: str) -> None:
    found = refusal(tmp_path, GOOD.replace("beta: 0.1", f"beta: {odd}"))
    assert found.startswith("bad.yaml:6: ")
    assert message in found
    assert "\n" not in found


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    rows = [f"&x{n} [*x{n - 1}, *x{n - 1}]" if n else "&x0 1" for n in range(30)]
    assert "grow it beyond 5,000 values" in refusal(tmp_path, GOOD.replace("0.1", f"[{', '.join(rows)}]"))


def test_a_recipe_longer_than_any_is_refused(tmp_path: Path) -> None:
    assert "is too long for a recipe: 60," in refusal(tmp_path, GOOD + "#" * 60_000)


@pytest.mark.parametrize("data", [b"a: \xff", "a: 1".encode("utf-16"), GOOD.replace("x}", "caf\xe9}").encode("cp1252")])
def test_another_encoding_is_named_with_its_line(tmp_path: Path, data: bytes) -> None:
    assert "is not UTF-8; save the recipe in this encoding" in refusal(tmp_path, data)


def test_all_problems_of_a_huge_list_are_counted(tmp_path: Path) -> None:
    found = refusal(tmp_path, GOOD.replace("{loss: dpo, beta: 0.1}", "[]\n" + "  - 1\n" * 300)).splitlines()
    assert len(found) == 101
    assert found[-1].endswith("more problems")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loss: dpo, beta", "loss: [dpo], beta", "objective.0.loss: must be the name of a component, found ['dpo']"),
        ("loss: dpo, beta", "loss: null, beta", "objective.0.loss: must be the name of a component, found null"),
        ("adapter: digits", "adapter: {a: 1}", "model.adapter: must be the name of a component, found {'a': 1}"),
        ("  crop:", "  5:", "corruptions.5: is not a valid name of a condition"),
        ("  crop:", "  '':", "is not a valid name of a condition"),
        ("  crop:", "  a@b:", "corruptions.a@b: is not a valid name of a condition"),
        ("  crop:", f"  {'a' * 300}:", f"corruptions.{'a' * 80}...: is not a valid name of a condition"),
        ("dpo, beta: 0.1", "v_dpo, guidance: 2, blank: no image", "objective.0: 'no image' is not a valid name of a"),
        ("runs/x", "''", "output.dir: the folder's name is empty, found ''"),
        ("runs/x", "a" * 5000, "output.dir: a path has at most 4095 bytes, and each of its names at most 255"),
        ("runs/x}", "runs/x}\ntrain: {workers: 1000000}", "train.workers: input should be less than or equal to 1024"),
        ("runs/x}", "runs/x}\ntrain: {seed: 5000000000}", "train.seed: input should be less than or equal to"),
        ("runs/x}", "runs/x}\ntrain: {epochs: 1000000}", "train.epochs: input should be less than or equal to 10000"),
        ("runs/x}", "runs/x}\ntrain: {learning_rate: 1e300}", "train.learning_rate: input should be at most 1e+30"),
        ("runs/x}", "runs/x}\ntrain: {max_grad_norm: 0}", "train.max_grad_norm: null switches clipping off, not 0"),
        ("backend: local", "backend: local, device: meta", "backend.device: not a device: write auto"),
        (
            "adapter: digits",
            "adapter: digits, max_length: 1",
            "model.max_length: input should be greater than or equal",
        ),
        ("random_crop", "random_crop, aspect: [1e-9, 1e9]", "corruptions.crop.aspect.0: input should be greater than"),
    ],
)
def test_nonsense_is_refused_with_its_path(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in refusal(tmp_path, GOOD.replace(old, new, 1))


def test_terms_that_all_weigh_nothing_are_refused(tmp_path: Path) -> None:
    weightless = GOOD.replace("beta: 0.1", "weight: 0").replace("over:", "weight: 0, over:")
    assert "objective: every term has the weight 0, so nothing would train" in refusal(tmp_path, weightless)


def test_merge_keys_aliases_and_sections_for_them_work(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(
        "x-common: &common {beta: 0.3, label_smoothing: 0.1}\n"
        + GOOD.replace("{loss: dpo, beta: 0.1}", "&first {<<: *common, loss: dpo, beta: 0.2}").replace(
            "{loss: dpo, over", "{<<: [*first, *common], label: second, over"
        )
    )
    first, second = (term.model_dump() for term in load_recipe(file).objective)
    assert (first["beta"], first["label_smoothing"]) == (0.2, 0.1)
    assert (second["beta"], second["label"], str(second["over"])) == (0.2, "second", "chosen@crop")


def test_a_problem_in_merged_options_is_on_the_line_where_they_are_written(tmp_path: Path) -> None:
    text = "x-common: &common\n  bta: 0.3\n" + GOOD.replace("beta: 0.1", "<<: *common")
    assert "bad.yaml:2: objective.0.bta: unknown option; did you mean 'beta'?" in refusal(tmp_path, text)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_recipe(file).output.dir == Path("runs/x")


def test_gradients_need_not_be_clipped(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD + "train: {max_grad_norm: null}\n")
    assert load_recipe(file).train.grad_norm_limit == float("inf")


@pytest.mark.parametrize("base", ["a" * 300 + ".yaml", "'\\0'", "[a]", "/dev/null", ".", "loop.yaml"])
def test_a_base_that_is_no_file_is_refused(tmp_path: Path, base: str) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    assert "is not a file beside this recipe" in refusal(tmp_path, f"extends: {base}\n")


def test_a_long_chain_of_recipes_is_refused(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    assert "a recipe extends at most 20 others" in refusal(tmp_path, "extends: 0.yaml\n")


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe", "long", "zero"])
def test_what_cannot_be_read_as_a_file_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / {"long": "a" * 300, "zero": "a\0b"}.get(kind, "odd.yaml")
    if kind == "folder":
        file.mkdir()
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "pipe":
        os.mkfifo(file)
    with pytest.raises(RecipeError, match=r"is not a file|cannot be read"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("objective.²=5", "'objective.²' does not exist"),
        ("objective.-1.beta=5", "'objective.-1' does not exist"),
        (f"objective.{'9' * 5000}=5", "does not exist"),
        (f"{'a.' * 5000}b=5", "more than 40 keys, one inside another"),
        ("train..epochs=5", "write it as section.key=value"),
        (".=5", "write it as section.key=value"),
        ("train.\udcff=5", "write it as section.key=value"),
        ("train.epochs=!x 5", "the tag '!x' has no meaning"),
        ("train.epochs=*none", "found undefined alias 'none'"),
        ("train.epochs.more=5", "'train.epochs.more' does not exist"),
        ("extends=other.yaml", "extends: unknown section"),
    ],
)
def test_an_odd_assignment_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", [assignment])
    assert message in str(caught.value)
    assert str(caught.value).startswith("the change ")


def test_aliases_that_multiply_a_long_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"x-a: &a '{'x' * 30_000}'\nmodel: {{adapter: digits, zzz: [{'*a, ' * 4_000}]}}\n")
    with pytest.raises(RecipeError, match="its aliases and merge keys grow it beyond 100,000 characters"):
        load_recipe(file)


def test_a_mapping_of_yaml_1_1_may_say_on_which_it_reads_as_true() -> None:
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load(GOOD + "evaluators: []\n")
    recipe["objective"] += yaml.safe_load("[{anchor: reward, on: chosen}]")
    assert True in recipe["objective"][2]
    assert load_recipe(recipe).objective[2].on.response == "chosen"  # type: ignore[union-attr]
    recipe["objective"][2] = yaml.safe_load("{anchor: reward, on: chosen, off: rejected}")
    with pytest.raises(RecipeError, match=r"objective\.2\.off: unknown option"):
        load_recipe(recipe)
