"""A plugin that needs another mdpo is refused with a sentence, before its code runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdpo_core
from mdpo_core import PluginError
from mdpo_core.registry.discovery import Registry
from mdpo_core.registry.plugin_files import use_plugin_file
from mdpo_core.registry.required_version import require_version_for_file

RAISES = "raise RuntimeError('the code of another version')"
EMPTY = "from mdpo_core import hookimpl\n@hookimpl\ndef mdpo_components(): return {}\n"
Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a plugin that requires something, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(requires: str, source: str) -> None:
        monkeypatch.delitem(sys.modules, "third_module", raising=False)
        (tmp_path / "third_module.py").write_text(source)
        info = tmp_path / "third-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: third\nVersion: 2.5\nRequires-Dist: torch\nRequires-Dist: {requires}\n"
        )
        (info / "entry_points.txt").write_text("[mdpo]\nthird = third_module\n")

    return add


@pytest.mark.parametrize(
    "requires", ["mdpo>=99", "mdpo (>=99)", "MDPO>=99", "mdpo[judge]>=99", "mdpo==99; python_version>'3'"]
)
def test_a_package_that_needs_a_newer_mdpo_is_refused_before_it_is_imported(requires: str, install: Install) -> None:
    install(requires, RAISES)
    with pytest.raises(PluginError) as caught:
        Registry.discover()
    told = str(caught.value)
    assert told.startswith("plugin 'third' (third 2.5) needs mdpo")
    assert f'but this is mdpo {mdpo_core.__version__}; install that one (pip install "mdpo' in told
    assert "dpo" in Registry.discover(without=["third"]).components("loss")


@pytest.mark.parametrize(
    "requires",
    [
        "mdpo",
        f"mdpo>={mdpo_core.__version__}",
        "mdpo>=0.0.1a1",
        "mdpo-bunny>=99",
        "mdpo.more>=99",
        'mdpo[testing]>=99; extra == "test"',
        "mdpo>=99; python_version<'3'",
    ],
)
def test_packages_that_this_mdpo_satisfies_are_loaded(requires: str, install: Install) -> None:
    install(requires, EMPTY)
    assert Registry.discover().plugins.has_plugin("third")


def test_a_requirement_that_pip_does_not_know_is_a_sentence(install: Install) -> None:
    install("mdpo newer than 2", EMPTY)
    with pytest.raises(PluginError, match="says in words that pip does not know which mdpo it needs: 'mdpo newer"):
        Registry.discover()


HEAD = '# /// script\n# dependencies = ["torch", "{}"]\n# ///\n'


def test_a_file_that_needs_a_newer_mdpo_is_refused_before_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "newer.py"
    file.write_text(HEAD.format("mdpo>=99") + RAISES)
    with pytest.raises(PluginError, match=r"newer.py needs mdpo>=99, but this is mdpo .*, or leave the file out"):
        use_plugin_file(file)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("# /// script\n# dependencies = [\n# ///\n", "the block '# /// script' is not TOML: "),
        ("# /// script\r\n# dependencies = 'mdpo'\r\n# ///\r\n", "is a list of texts, not "),
        ("# /// script\n# dependencies = [3]\n# ///\n", "is a list of texts, not "),
    ],
)
def test_a_block_that_cannot_be_read_is_a_sentence(head: str, told: str) -> None:
    with pytest.raises(PluginError) as caught:
        require_version_for_file("mine.py", head.encode())
    assert told in str(caught.value)


@given(st.text() | st.just(HEAD.format("mdpo")) | st.just("# /// script\n#\n# a = 1\n# ///") | st.just("# /// script"))
def test_other_texts_require_nothing(text: str) -> None:
    require_version_for_file("mine.py", f"{text}{os.linesep}".encode("utf-8", "surrogatepass"))
