"""`register`: a class written in a script or a notebook is a component at once. Oracle: what an installed one does."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from support.paths import ROOT
from torch import Tensor

from mdpo_core import (
    Anchor,
    Component,
    PairLoss,
    PluginError,
    RecipeError,
    Scores,
    component,
    hookimpl,
    load_recipe,
    register,
    run,
)
from mdpo_core.cli.plugins_table import components_text
from mdpo_core.registry.discovery import Registry, current_registry, use_registry

QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
SMALL = [
    *("data.num_pairs=8", "train.batch_size=4", "train.micro_batch_size=4"),
    *("validation=null", "evaluators=[]", "trackers=[]"),
]


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    """A registry in which a test may register, forgotten afterwards."""
    before, own = current_registry(), Registry.discover()
    use_registry(own)
    yield own
    use_registry(before)


def loss_class(factor: float = 1.0) -> type[PairLoss]:
    class Mine(PairLoss):
        """Its margin, less of which costs more."""

        beta: float = 0.1

        def __call__(self, scores: Scores) -> Tensor:
            return -factor * self.beta * scores.margin(self.prefer, self.over)

    return Mine


def offers(registry: Registry) -> dict[tuple[str, str], type[Component]]:
    return {(kind, name): cls for kind in ("loss", "anchor") for name, cls in registry.components(kind).items()}


def test_decorator_and_call_both_register_and_return_the_class() -> None:
    mine, other = loss_class(), loss_class()
    assert register("mine")(mine) is mine
    assert register("other", type("Other", (other,), {"__module__": __name__})).__name__ == "Other"
    assert component("loss", "mine", beta=0.2) == mine(beta=0.2)
    assert f"loss: mine  [{__name__}]\n    Its margin, less of which costs more." in components_text("loss", "mine")


def test_yaml_and_python_use_and_print_registered_class_alike() -> None:
    mine = register("mine", loss_class())
    recipe = load_recipe(QUICKSTART, ["objective=[{loss: mine, beta: 0.2}]"])
    assert recipe.objective == (mine(beta=0.2),)
    made = type(recipe)(**{**dict(recipe), "objective": (mine(beta=0.2),)})
    assert made.to_dict() == recipe.to_dict()
    assert made.to_dict()["objective"][0]["loss"] == "mine"
    assert made.labels() == ("0:mine",)
    with pytest.raises(RecipeError, match=r"unknown option; did you mean 'beta'\?  \(mine: "):
        load_recipe(QUICKSTART, ["objective=[{loss: mine, bta: 0.2}]"])


def test_pickled_component_keeps_its_name_which_is_no_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name is not an option, and stays with a component that is sent to another process."""
    monkeypatch.setattr(sys.modules[__name__], "Mine", register("mine", loss_class()), raising=False)
    cls = sys.modules[__name__].Mine
    cls.__qualname__ = "Mine"
    sent = pickle.dumps(cls(beta=0.2))
    monkeypatch.delattr(cls, "_component_name")
    again = pickle.loads(sent)
    assert again == cls(beta=0.2)
    assert again.component_name() == "mine"
    assert set(cls.model_fields) == set(again.model_dump()) == {"beta", "label", "over", "prefer", "scored", "weight"}


def test_a_subclass_does_not_inherit_a_name_and_gets_its_own_in_a_recipe() -> None:
    derived = type("DerivedLoss", (register("mine", loss_class()),), {"__module__": __name__})
    with pytest.raises(PluginError, match="the class DerivedLoss has no name that a recipe could use: give it one"):
        derived.component_name()
    recipe = load_recipe(QUICKSTART)
    made = type(recipe)(**{**dict(recipe), "objective": (derived(),)})
    assert made.labels() == ("0:derived_loss",)
    assert component("loss", "derived_loss") == derived()
    assert component("loss", "mine").component_name() == "mine"


def test_a_class_of_two_names_is_printed_under_the_first() -> None:
    mine = register("second", register("first", loss_class()))
    assert component("loss", "second") == mine()
    assert component("loss", "second").component_name() == "first"


def test_rerun_cell_replaces_its_class_and_plugin(registry: Registry) -> None:
    heard: list[str] = []

    def listener(word: str) -> object:
        class Listener:
            @hookimpl
            def mdpo_step_finished(self, step: int) -> None:
                heard.append(f"{word} {step}")

        return Listener()

    register("mine", loss_class(1.0))
    again = register("mine", loss_class(2.0))
    assert registry.get("loss", "mine") is again
    register("ears", listener("old"))
    register("ears", listener("new"))
    registry.plugins.hook.mdpo_step_finished(step=1, metrics={})
    assert heard == ["new 1"]


def test_rerun_cell_with_broken_plugin_keeps_the_earlier_one(registry: Registry) -> None:
    heard: list[int] = []
    mine = loss_class()
    offer = hookimpl(lambda: {"mine": mine})
    register(
        "ours", SimpleNamespace(mdpo_components=offer, mdpo_step_finished=hookimpl(lambda step: heard.append(step)))
    )
    broken = hookimpl(wrapper=True)(lambda step: None)
    assert "cannot register the plugin 'ours'" in refused(
        "ours", SimpleNamespace(mdpo_components=offer, mdpo_step_finished=broken)
    )
    registry.plugins.hook.mdpo_step_finished(step=1, metrics={})
    assert heard == [1]
    assert registry.owner("loss", "mine") == "ours"


def test_a_plugin_is_registered_under_one_name_only() -> None:
    plugin = SimpleNamespace(mdpo_step_finished=hookimpl(lambda step: None))
    register("ours", plugin)
    assert "cannot register the plugin 'theirs': it is already registered as 'ours'" in refused("theirs", plugin)


def test_a_whole_plugin_is_registered_with_its_components(registry: Registry) -> None:
    mine = loss_class()
    register("ours", SimpleNamespace(mdpo_components=hookimpl(lambda: {"mine": mine})))
    assert registry.get("loss", "mine") is mine
    assert registry.owner("loss", "mine") == "ours"
    register("ours", SimpleNamespace(mdpo_components=hookimpl(lambda: {"other": mine})))
    assert "mine" not in registry.components("loss")


class Floor(Anchor):
    """Not a loss."""

    def __call__(self, scores: Scores) -> Tensor:
        return -scores.log_ratio(self.on)


class Anchored(Floor):
    loss: float = 0.5


class OfNoKind(Component):
    """Its kind is none that recipes have."""

    kind: ClassVar[str] = "sampler"


def refused(name: Any, thing: Any) -> str:
    registry = current_registry()
    before = offers(registry), registry.plugins.list_name_plugin()
    with pytest.raises(PluginError) as caught:
        register(name, thing)
    assert (offers(registry), registry.plugins.list_name_plugin()) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "thing", "message"),
    [
        ("dpo", Floor, None),  # a loss has this name, and this is an anchor
        ("reward", Floor, "cannot register the anchor 'reward': the plugin 'objectives' has this name; choose another"),
        ("", Floor, "cannot register the name ''; a name consists of letters, digits, '_' and '-', and does not beg"),
        ("my floor", Floor, "cannot register the name 'my floor'; a name consists of letters, digits, '_' and '-'"),
        (None, Floor, 'register needs the name that recipes will use: @register("mine") above a class, or'),
        ("floor", Floor(), "cannot register 'floor', which is an instance of Floor; give the class itself"),
        ("floor", Anchor, "cannot register the anchor 'floor', which does not implement: __call__"),
        (
            "floor",
            Anchored,
            "cannot register the anchor 'floor' with the option 'loss', a key that names the component",
        ),
        ("floor", Component, "cannot register 'floor', which is the class Component; a component is a class derived"),
        ("floor", OfNoKind, "cannot register 'floor', which is the class OfNoKind; a component is a class derived"),
        ("floor", int, "cannot register 'floor', which is the class int; a component is a class derived from one of"),
        ("floor", 3, "cannot register 'floor', which is the int 3; a component is a class derived from one of"),
        (
            "floor",
            SimpleNamespace(mdpo_step_finished=print),
            "cannot register the plugin 'floor': mdpo_step_finished needs @hookimpl above it to be a hook",
        ),
        (
            "floor",
            SimpleNamespace(mdpo_step_finish=hookimpl(lambda step: None)),
            "cannot register the plugin 'floor': mdpo has no hook 'mdpo_step_finish'; did you mean 'mdpo_step_finished",
        ),
        (
            "floor",
            SimpleNamespace(mdpo_step_finished=hookimpl(lambda steps: None)),
            "the hook mdpo_step_finished has no argument 'steps'; it has: step, metrics",
        ),
        (
            "floor",
            SimpleNamespace(mdpo_step_finished=hookimpl(wrapper=True)(lambda step: None)),
            "Declared as wrapper=True or hookwrapper=True but function is not a generator",
        ),
        (
            "objectives",
            SimpleNamespace(mdpo_step_finished=hookimpl(lambda step: None)),
            "cannot register the plugin 'objectives': another plugin has this name; choose",
        ),
        (
            "floor",
            SimpleNamespace(mdpo_components=hookimpl(lambda: {"odd": 3})),
            "cannot register the plugin 'floor', because it offers 'odd', which is the int 3; a component is a class",
        ),
    ],
)
def test_register_refuses_unusable_things_and_registers_nothing(name: str, thing: Any, message: str) -> None:
    """What recipes could not use is refused, and nothing is registered."""
    if message is None:
        assert register(name, thing) is thing
    else:
        assert message in refused(name, thing)


def test_nameless_class_is_refused_with_both_ways_to_name_it() -> None:
    with pytest.raises(PluginError, match=r'@register\("mine"\) above a class, or register\("mine", Mine\); found the'):
        register(Floor)  # type: ignore[call-overload]
    with pytest.raises(PluginError, match=r"register needs the name that recipes will use: .*; found none"):
        register()  # type: ignore[call-overload]


def test_another_class_under_a_registered_name_is_refused() -> None:
    register("mine", loss_class())
    other = type("Other", (loss_class(),), {"__module__": __name__})
    assert f"the class {__name__}.loss_class.<locals>.Mine has this name; choose another" in refused("mine", other)


def test_run_trains_registered_loss_and_manifest_has_its_source(tmp_path: Path) -> None:
    register("mine", loss_class())
    recipe = load_recipe(QUICKSTART, [*SMALL, "objective=[{loss: mine}]", f"output.dir={tmp_path / 'run'}"])
    folder = run(recipe).run_dir
    [(name, known)] = json.loads((folder / "manifest.json").read_text())["registered"].items()
    assert name == "loss mine"
    assert known["class"] == f"{__name__}.loss_class.<locals>.Mine"
    assert len(known["source"]) == 64
    assert run(recipe, resume=True).final == folder / "final"


SCRIPT = '''
from mdpo_core import ImageCorruption, load_recipe, register, run
def main():
    changes = {changes}
    run(load_recipe({recipe!r}, [*changes, "objective=[{{loss: dpo, over: chosen@grey}}]"]))
{guard}@register("grey")
{guard}class Grey(ImageCorruption):
{guard}    """All grey."""
{guard}    def __call__(self, image, rng):
{guard}        return image.convert("L").convert("RGB")
if __name__ == "__main__":
    main()
'''


def script(run_dir: Path, guard: str = "") -> str:
    changes = [*SMALL, "train.workers=1", "corruptions={grey: {corruption: grey}}", f"output.dir={run_dir}"]
    text = SCRIPT.format(changes=changes, recipe=str(QUICKSTART), guard="    " if guard else "")
    return text.replace("    @register", f"{guard}\n    @register") if guard else text


@pytest.mark.long
def test_workers_import_the_class_of_a_script(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(script(tmp_path / "run"))
    subprocess.run([sys.executable, str(file)], check=True, capture_output=True)
    assert (tmp_path / "run" / "final").is_dir()


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param("", id="a notebook"),
        pytest.param('if __name__ == "__main__":', id="a script under its guard", marks=pytest.mark.long),
    ],
)
def test_class_workers_cannot_import_is_refused_with_advice(tmp_path: Path, guard: str) -> None:
    text = script(tmp_path / "run", guard)
    file = tmp_path / "mine.py"
    file.write_text(text)
    words = [str(file)] if guard else ["-c", text]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert "worker processes (train.workers) cannot import" in done.stderr
    assert "put the class into a module and import it" in done.stderr
    assert "train.workers: 0" in done.stderr
