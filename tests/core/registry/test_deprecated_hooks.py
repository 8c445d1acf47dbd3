"""How the hooks of a plugin are deprecated: the page `stability.md`, tried."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.paths import ROOT

from mdpo_core import hookimpl, hooks
from mdpo_core.registry.discovery import Registry

PAGE = ROOT / "docs" / "extend" / "stability.md"


def listener(file: Path) -> ModuleType:
    """A plugin in a file of its own, which stays on the disk as pluggy names it."""
    file.write_text(
        "from mdpo_core import hookimpl\n\n\n@hookimpl\ndef mdpo_stopped_early(step): pass\n\n\n"
        "@hookimpl\ndef mdpo_step_finished(metrics): pass\n"
    )
    module = ModuleType("listener")
    exec(compile(file.read_text(), file, "exec"), module.__dict__)
    return module


def test_a_deprecated_hook_warns_once_with_the_plugin_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    page: dict[str, Any] = {"hookspec": hooks.hookspec, "Mapping": Mapping}
    exec(block, page)
    monkeypatch.setattr(hooks.mdpo_stopped_early, "mdpo_spec", page["mdpo_old"].mdpo_spec)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Registry().register(listener(tmp_path / "listener.py"), "listener")
    [told] = heard
    assert "mdpo_old is deprecated since mdpo 0.3" in str(told.message)
    assert told.category is FutureWarning
    assert Path(told.filename).name == "listener.py"


def test_a_deprecated_argument_warns_those_who_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = hooks.mdpo_step_finished.mdpo_spec  # type: ignore[attr-defined]  # `hookspec` sets it
    told = FutureWarning("`metrics` is deprecated")
    monkeypatch.setattr(hooks.mdpo_step_finished, "mdpo_spec", {**spec, "warn_on_impl_args": {"metrics": told}})
    with pytest.warns(FutureWarning, match="`metrics` is deprecated"):
        Registry().register(listener(tmp_path / "listener.py"), "listener")

    class Other:
        @hookimpl
        def mdpo_step_finished(self, step: int) -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Registry().register(Other(), "other")
