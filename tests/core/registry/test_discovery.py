"""Discovery: what is installed, what is broken, and who offers what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mdpo_core import PluginError, hookimpl
from mdpo_core.registry.discovery import Registry

Install = Callable[..., None]
LOSS = """
from mdpo_core import PairLoss, hookimpl
class Mine(PairLoss):
    def __call__(self, scores): return scores.margin(self.prefer, self.over)
@hookimpl
def mdpo_components(): return {"NAME": Mine}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a plugin as pip would: a module and its entry point on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name: str, source: str, package: str | None = None) -> None:
        package = package or name
        monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)
        (tmp_path / f"{package}_module.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        with (info / "entry_points.txt").open("a") as file:
            file.write(f"[mdpo]\n{name} = {package}_module\n")

    return add


def test_an_installed_plugin_is_found_and_its_owner_known(install: Install) -> None:
    install("third", LOSS.replace("NAME", "mine"))
    registry = Registry.discover()
    assert registry.get("loss", "mine").__name__ == "Mine"
    assert registry.owner("loss", "mine") == "third"
    assert registry.get("loss", "mine").component_name() == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (LOSS.replace("return {", "return 3, {"), "mdpo_components() must return a mapping from names to"),
        (
            "from mdpo_core import hookimpl\n@hookimpl\ndef mdpo_step_done(step): pass",
            "mdpo has no hook 'mdpo_step_done'; did you mean 'mdpo_step_finished'?",
        ),
        (
            "from mdpo_core import hookimpl\n@hookimpl\ndef mdpo_step_finished(step, loss): pass",
            "the hook mdpo_step_finished has no argument 'loss'; it has: step, metrics",
        ),
        (
            "from mdpo_core import hookimpl\n@hookimpl(wrapper=True)\ndef mdpo_step_finished(step): pass",
            "Declared as wrapper=True or hookwrapper=True but function is not a generator",
        ),
        ("def mdpo_step_finished(step): pass", "mdpo_step_finished needs @hookimpl above it to be a hook"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_broken_plugin_is_named_with_error_and_can_be_left_out(install: Install, source: str, message: str) -> None:
    install("broken", source)
    with pytest.raises(PluginError) as caught:
        Registry.discover()
    assert "plugin 'broken' does not load" in str(caught.value)
    assert message in str(caught.value)
    assert "fix it, or uninstall it" in str(caught.value)
    assert "dpo" in Registry.discover(without=["broken"]).components("loss")


def test_plugin_with_a_broken_hook_is_refused_whole(install: Install) -> None:
    """A plugin with one broken hook is refused, and none of its hooks is registered."""
    install("half", LOSS.replace("NAME", "mine"))
    registry = Registry.discover(without=["half"])
    before = registry.plugins.list_name_plugin()
    good = hookimpl(lambda step: None)
    bad = hookimpl(wrapper=True)(lambda run_dir: None)
    with pytest.raises(
        PluginError, match=r"(?s)plugin 'half' does not load: .*not a generator.*fix it, or uninstall it"
    ):
        registry.register(SimpleNamespace(mdpo_step_finished=good, mdpo_run_finished=bad), "half")
    assert registry.plugins.list_name_plugin() == before
    assert not [each for each in registry.plugins.hook.mdpo_step_finished.get_hookimpls() if each.function is good]


def test_two_plugins_that_offer_one_name_are_both_named(install: Install) -> None:
    install("rival", LOSS.replace("NAME", "dpo"))
    with pytest.raises(PluginError, match="plugins 'objectives' and 'rival' both offer the loss 'dpo'"):
        Registry.discover()


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        (
            "{'odd': int}",
            r"plugin 'odd' offers 'odd', which is the class int; a component is a class derived from one of .*",
        ),
        ("{'odd': Mine()}", r"plugin 'odd' offers 'odd', which is an instance of Mine; give the class itself"),
        (
            "{'odd': (Mine, 3)}",
            r"plugin 'odd' offers 'odd', which is the int 3; a component is a class derived from one of .*",
        ),
        ("{'odd one': Mine}", r"plugin 'odd' offers the name 'odd one'; a name consists of letters, .*"),
        ("{'odd': PairLoss}", r"plugin 'odd' offers the loss 'odd', which does not implement: __call__"),
    ],
)
def test_something_that_recipes_could_not_use_is_refused(install: Install, offer: str, message: str) -> None:
    install("odd", LOSS.replace('{"NAME": Mine}', offer))
    with pytest.raises(PluginError, match=f"{message}; fix it, or uninstall it$"):
        Registry.discover()


def test_two_packages_with_one_plugin_name_are_both_named(install: Install) -> None:
    install("twin", LOSS.replace("NAME", "one"), package="castor")
    install("twin", LOSS.replace("NAME", "two"), package="pollux")
    with pytest.raises(
        PluginError, match="the packages 'castor' and 'pollux' both name their plugin 'twin'; uninstall"
    ):
        Registry.discover()
    assert "one" not in Registry.discover(without=["twin"]).components("loss")


def test_one_module_under_two_names_is_refused(install: Install) -> None:
    install("first", LOSS.replace("NAME", "one"), package="both")
    install("second", LOSS.replace("NAME", "one"), package="both")
    with pytest.raises(PluginError, match="plugins 'first' and 'second' are the same module; uninstall one of them"):
        Registry.discover()


def test_plugin_may_offer_kinds_under_one_name_or_only_listen(install: Install) -> None:
    anchor = "class Floor(Anchor):\n    def __call__(self, scores): return -scores.log_ratio(self.on)\n@hookimpl"
    source = LOSS.replace("PairLoss, hookimpl", "Anchor, PairLoss, hookimpl").replace("@hookimpl", anchor)
    install("several", source.replace('{"NAME": Mine}', '{"both": (Mine, Floor)}'))
    heard = "from mdpo_core import hookimpl\nsteps = []\n@hookimpl\ndef mdpo_step_finished(step): steps.append(step)"
    install("listener", heard)
    registry = Registry.discover()
    assert [registry.get(kind, "both").__name__ for kind in ("loss", "anchor")] == ["Mine", "Floor"]
    registry.plugins.hook.mdpo_step_finished(step=7, metrics={})
    assert sys.modules["listener_module"].steps == [7]


def test_unknown_names_come_with_the_nearest_one() -> None:
    registry = Registry.discover()
    with pytest.raises(PluginError, match="unknown loss 'dpoo'; did you mean 'dpo'"):
        registry.get("loss", "dpoo")
    with pytest.raises(PluginError, match="unknown kind of component 'los'; did you mean 'loss'"):
        registry.get("los", "dpo")
    with pytest.raises(PluginError, match="without obectives: this plugin is not installed; did you mean 'objectives'"):
        Registry.discover(without=["obectives"])
