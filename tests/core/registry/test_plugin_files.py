"""A file as a plugin. Oracle: what the same code does as an installed plugin, or in a notebook."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import RECIPES

from mdpo_core import PluginError, RecipeError, component, load_recipe
from mdpo_core.processes.file_modules import file_modules
from mdpo_core.registry.discovery import Registry, current_registry
from mdpo_core.registry.offers import KINDS
from mdpo_core.registry.plugin_files import loaded_files, use_plugin_file

pytestmark = pytest.mark.usefixtures("own_registry")

HEAD = "from mdpo_core import PairLoss, hookimpl, register\n"
CLASS = """
{mark}
class {cls}(PairLoss):
    beta: float = {beta}

    def __call__(self, scores):
        return -self.beta * scores.margin(self.prefer, self.over)
"""
HOOK = "@hookimpl\ndef mdpo_components(): return {offered}\n"


def registering(name: str, cls: str = "Mine", beta: float = 0.1) -> str:
    return CLASS.format(mark=f'@register("{name}")', cls=cls, beta=beta)


def offering(name: str) -> str:
    return CLASS.format(mark="", cls="Offered", beta=0.1) + HOOK.format(offered=f"{{{name!r}: Offered}}")


def written(folder: Path, source: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(HEAD + source)
    return file


def state() -> tuple[object, ...]:
    """All that a refused file must leave as it was."""
    registry = current_registry()
    offers = {(kind, name): cls for kind in KINDS for name, cls in registry.components(kind).items()}
    modules = {name: module for name, module in sys.modules.items() if name.startswith("mdpo_file_")}
    return offers, registry.plugins.list_name_plugin(), dict(registry.files), modules, file_modules()


def refused(file: Path) -> str:
    before = state()
    with pytest.raises(PluginError) as caught:
        use_plugin_file(file)
    assert state() == before
    return str(caught.value)


@pytest.mark.parametrize("source", [registering("mine"), offering("mine")])
def test_a_file_offers_by_a_hook_as_packages_do_or_by_register_as_notebooks_do(tmp_path: Path, source: str) -> None:
    use_plugin_file(written(tmp_path, source))
    made = component("loss", "mine", beta=0.2)
    assert made.component_name() == "mine"
    assert current_registry().owner("loss", "mine") == "mine.py"
    assert pickle.loads(pickle.dumps(made)) == made
    assert not any(name == "mine" for _, name in current_registry().registered())


def test_a_file_may_only_listen(tmp_path: Path) -> None:
    use_plugin_file(written(tmp_path, "steps = []\n@hookimpl\ndef mdpo_step_finished(step): steps.append(step)\n"))
    current_registry().plugins.hook.mdpo_step_finished(step=3, metrics={})
    assert sys.modules["mdpo_file_mine"].steps == [3]


def test_the_same_content_is_run_once_and_other_content_replaces_it(tmp_path: Path) -> None:
    file = written(tmp_path, registering("mine") + registering("gone", "Gone"))
    use_plugin_file(file)
    first = current_registry().get("loss", "mine")
    use_plugin_file(os.path.relpath(file))
    assert current_registry().get("loss", "mine") is first
    written(tmp_path, registering("mine", beta=0.7))
    assert loaded_files([file])[0].sha256 != use_plugin_file(file).sha256
    assert component("loss", "mine").model_dump()["beta"] == 0.7
    assert "gone" not in current_registry().components("loss")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def broken(:\n", "does not load: its code raised SyntaxError: invalid syntax (mine.py, line 2)"),
        (
            "import nowhere\n",
            "does not load: its code raised ModuleNotFoundError: No module named 'nowhere' (mine.py:2)",
        ),
        ("1 / 0\n", "does not load: its code raised ZeroDivisionError: division by zero (mine.py:2)"),
        ("import sys; sys.exit(0)\n", "does not load: its code called sys.exit(0) (mine.py:2)"),
        ("\0", "does not load: its code raised"),
        ("", 'offers nothing: write @register("mine") above a class, or return the classes from mdpo_components()'),
        (registering("dpo"), "offers the loss 'dpo', but 'objectives' offers one of this name, too; choose another"),
        (registering("mine") * 2, "offers two classes as the loss 'mine'; give one of them another name"),
        (registering("mine") + offering("mine"), "offers two classes as the loss 'mine'"),
        (registering("my loss"), "does not load: cannot register the name 'my loss'"),
        ('register("mine", int)\n', "offers 'mine', which is the class int; a component is a class derived from"),
        ("def mdpo_step_finished(step): pass\n", "does not load: mdpo_step_finished needs @hookimpl above it"),
        (HOOK.format(offered=3), "does not load: mdpo_components() must return a mapping"),
        (HOOK.format(offered="1 / 0"), "does not load: its code raised ZeroDivisionError: division by zero (mine.py:"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, source: str, message: str) -> None:
    file = written(tmp_path, source)
    assert f"the plugin file {file} {message}" in refused(file)


def test_what_is_no_file_of_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert refused(tmp_path / "none.py") == f"{tmp_path / 'none.py'}: the plugin file does not exist"
    assert refused(tmp_path / "folder.py").endswith("folder.py is not a file; a plugin file is Python code")
    assert refused(tmp_path / "notes.txt").endswith("notes.txt is not a plugin file: its name must end in .py")
    assert "an installed plugin is there without being named" in refused(Path("mdpo_hinge2"))
    assert "the plugin file cannot be read" in refused(tmp_path / "a\0b.py")
    assert "the plugin file cannot be read: File name too long" in refused(tmp_path / f"{'a' * 300}.py")


def test_two_files_must_have_two_names_and_offer_different_ones(tmp_path: Path) -> None:
    use_plugin_file(written(tmp_path, registering("mine")))
    assert "offers the loss 'mine', but 'mine.py' offers one of this name, too" in refused(
        written(tmp_path, registering("mine"), "other.py")
    )
    text = refused(written(tmp_path / "below", registering("another")))
    assert f"the plugin files {tmp_path / 'mine.py'} and {tmp_path / 'below' / 'mine.py'} have the same name" in text
    use_plugin_file(written(tmp_path, registering("third", "Third"), "in-parts.py"))
    assert "in_parts.py have the same name, but not the same content" in refused(written(tmp_path, "", "in_parts.py"))


def test_a_copy_is_the_same_plugin(tmp_path: Path) -> None:
    use_plugin_file(written(tmp_path, registering("mine")))
    first, copy = current_registry().get("loss", "mine"), written(tmp_path / "below", registering("mine"))
    use_plugin_file(copy)
    assert current_registry().get("loss", "mine") is first
    assert [file.path for file in loaded_files([copy])] == [copy]


GOOD = [registering("a", "A"), registering("b", "B"), "X = 1\n"]
BAD = ["import nowhere\n", "1 / 0\n", "raise SystemExit\n", "return\n", 'register("c", 3)\n', registering("dpo", "D")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(parts=st.lists(st.sampled_from([*GOOD, *BAD]), unique=True))
def test_a_file_is_taken_whole_or_not_at_all(tmp_path: Path, parts: list[str]) -> None:
    registry = current_registry()
    names = {name for name in "ab" if registering(name, name.upper()) in parts}
    file = written(tmp_path, "".join(parts))
    if names and not {*parts} & {*BAD}:
        use_plugin_file(file)
        assert {name for name in "abc" if name in registry.components("loss")} == names
    else:
        assert str(file) in refused(file)


def recipe_with(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    file = folder / name
    file.write_text(f"extends: {os.path.relpath(RECIPES / 'quickstart.yaml', folder)}\n{text}")
    return file


def test_a_recipe_names_files_beside_it_and_prints_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    written(tmp_path, registering("mine"))
    recipe_with(tmp_path, "plugins: [mine.py]\nobjective: [{loss: mine}]\n")
    inner = tmp_path / "sub" / "inner.yaml"
    inner.write_text("extends: ../recipe.yaml\ntrain: {epochs: 2}\n")
    monkeypatch.chdir(RECIPES)
    recipe = load_recipe(inner)
    assert recipe.labels() == ("0:mine",)
    assert recipe.to_dict()["plugins"] == [str(tmp_path / "mine.py")]
    assert load_recipe(recipe.to_dict()) == recipe


def test_a_file_may_be_named_beside_the_recipe(tmp_path: Path) -> None:
    changes = {"objective": [{"loss": "mine", "beta": 0.3}]}
    file = written(tmp_path, registering("mine"))
    recipe = load_recipe("quickstart", changes, plugins=[file])
    assert recipe.plugins == (file,)
    same = load_recipe("quickstart", {**changes, "plugins": [str(file)]}, plugins=[file])
    assert same == recipe


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[none.py]", "recipe.yaml:2: plugins.0: {folder}/none.py: the plugin file does not exist"),
        ("mine.py", "recipe.yaml:2: plugins: must be a list of files, found 'mine.py'"),
        ("[3]", "recipe.yaml:2: plugins.0: must be the path of a Python file, found 3"),
        ("null", "recipe.yaml:2: plugins: must be a list of files, found null"),
        ("{a: mine.py}", "recipe.yaml:2: plugins: must be a list of files"),
    ],
)
def test_a_wrong_section_is_named_with_its_line(tmp_path: Path, section: str, message: str) -> None:
    file = recipe_with(tmp_path, f"plugins: {section}\nobjective: [{{loss: mine}}]\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    assert message.format(folder=tmp_path) in str(error.value)


def test_a_fresh_registry_runs_a_file_again(tmp_path: Path) -> None:
    file = written(tmp_path, registering("mine"))
    use_plugin_file(file)
    assert "mine" not in Registry.discover().components("loss")
