"""Discovery: what is installed, what is broken, and who offers what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mdpo_core import PluginError
from mdpo_core.registry import Registry

LOSS = """
from mdpo_core import PairLoss, hookimpl
class Mine(PairLoss):
    def __call__(self, scores): return scores.margin(self.prefer, self.over)
@hookimpl
def mdpo_components(): return {"NAME": Mine}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Install a plugin as pip would: a module and its entry point on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(name: str, source: str) -> None:
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)
        (tmp_path / f"{name}_module.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mdpo]\n{name} = {name}_module\n")

    return add


def test_an_installed_plugin_is_found_and_its_owner_known(install) -> None:  # type: ignore[no-untyped-def]
    install("third", LOSS.replace("NAME", "mine"))
    registry = Registry.discover()
    assert registry.get("loss", "mine").__name__ == "Mine"
    assert registry.owner("loss", "mine") == "third"
    assert registry.name_of(registry.get("loss", "mine")) == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (LOSS.replace("return {", "return 3, {"), "TypeError: mdpo_components"),
        (
            "from mdpo_core import hookimpl\n@hookimpl\ndef mdpo_step_done(step): pass",
            "unknown hook 'mdpo_step_done'",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_its_error_and_can_be_left_out(install, source: str, message: str) -> None:  # type: ignore[no-untyped-def]
    install("broken", source)
    with pytest.raises(PluginError) as caught:
        Registry.discover()
    assert "plugin 'broken' does not load" in str(caught.value)
    assert message in str(caught.value)
    assert "--without broken" in str(caught.value)
    assert "dpo" in Registry.discover(without=["broken"]).components("loss")


def test_two_plugins_that_offer_one_name_are_both_named(install) -> None:  # type: ignore[no-untyped-def]
    install("rival", LOSS.replace("NAME", "dpo"))
    with pytest.raises(PluginError, match="plugins 'objectives' and 'rival' both offer the loss 'dpo'"):
        Registry.discover()


def test_something_that_is_no_component_is_refused(install) -> None:  # type: ignore[no-untyped-def]
    install("odd", "from mdpo_core import hookimpl\n@hookimpl\ndef mdpo_components(): return {'odd': int}")
    with pytest.raises(PluginError, match=r"plugin 'odd' offers 'odd' = .* which is no class of a component kind"):
        Registry.discover()


def test_unknown_names_come_with_the_nearest_one() -> None:
    registry = Registry.discover()
    with pytest.raises(PluginError, match="unknown loss 'dpoo'; did you mean 'dpo'"):
        registry.get("loss", "dpoo")
    with pytest.raises(PluginError, match="unknown kind of component 'los'; did you mean 'loss'"):
        registry.get("los", "dpo")
    with pytest.raises(PluginError, match="--without obectives: no such plugin; did you mean 'objectives'"):
        Registry.discover(without=["obectives"])
