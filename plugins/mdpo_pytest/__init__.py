"""``pytest --mdpo-plugin NAME``: the contracts of an installed plugin's components, an item for each.

Every pytest in this environment loads this module: it imports nothing of ours before the option is given.
"""

from __future__ import annotations

import inspect
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mdpo_core.testing import ContractCase

_HINT = "What this component is to be told, it says in a classmethod contract(folder): docs/extend/write-a-plugin.md."
_ALL = "pytest --full-trace shows all of it."


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--mdpo-plugin``."""
    parser.getgroup("mdpo").addoption(
        "--mdpo-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="try the components of an installed plugin of mdpo by the contracts of their kinds; no other tests are "
        "collected unless files or folders are named",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect no other tests if the command line names no files."""
    if config.getoption("mdpo_plugin") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)  # before -k, -m and --lf choose among the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one item for each component of the named plugins."""
    for name in dict.fromkeys(config.getoption("mdpo_plugin")):
        found: list[pytest.Item | pytest.Collector] = list(
            _Plugin.from_parent(session, name=name, nodeid=name).collect()
        )
        # pytest counts what reports hold.
        config.hook.pytest_collectreport(report=pytest.CollectReport(name, "passed", None, found))
        items.extend(each for each in found if isinstance(each, pytest.Item))


class _Plugin(pytest.Collector):
    """An installed plugin."""

    def collect(self) -> Iterator[pytest.Item]:
        from mdpo_core import PluginError
        from mdpo_core.testing import contract_cases

        try:
            found = contract_cases(self.name)
        except PluginError as error:
            raise pytest.UsageError(f"--mdpo-plugin {self.name}: {error}") from error
        for case in found:
            yield _Contract.from_parent(self, name=f"{case.kind}-{case.name}", case=case)


class _Contract(pytest.Item):
    """A component of a plugin."""

    def __init__(self, *, case: ContractCase, **options: Any) -> None:
        super().__init__(**options)
        self._case = case

    def runtest(self) -> None:
        from mdpo_core.testing import NeedsMoreToTry

        with tempfile.TemporaryDirectory() as folder:
            try:
                self._case(Path(folder))
            except NeedsMoreToTry as reason:
                pytest.skip(str(reason))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence of a contract, and where in the component the exception was raised that it tells of."""
        if self.config.getoption("fulltrace"):
            return super().repr_failure(excinfo, style)
        error = excinfo.value
        is_sentence = isinstance(error, AssertionError) and str(error) != ""
        text = str(error) if is_sentence else "".join(traceback.format_exception_only(error)).rstrip()
        if is_sentence and error.__cause__ is None:
            return f"{text}\n{_HINT}"
        [place] = traceback.format_list([self._case.frame_of(error.__cause__ or error)])
        return f"{text}\n{place}{_HINT if is_sentence else _ALL}"

    def reportinfo(self) -> tuple[str, int | None, str]:
        return inspect.getfile(self._case.component), None, self.name
