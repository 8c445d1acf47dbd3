"""``pytest --mdpo-plugin NAME`` checks the contracts of a plugin's components, one item per component.

The plugin is an installed one, or a Python file: ``pytest --mdpo-plugin mine.py``.

Every run of pytest in this environment loads this module. So it imports mdpo only if the option is set.
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

_HINT = "A classmethod contract(folder) can set the options of this check: docs/extend/write-a-plugin.md."
_ALL = "pytest --full-trace shows the full traceback."


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--mdpo-plugin``."""
    parser.getgroup("mdpo").addoption(
        "--mdpo-plugin",
        action="append",
        default=[],
        metavar="NAME_OR_FILE",
        help="check the components of an installed mdpo plugin, or of a Python file, against the contracts of their "
        "kinds; other tests are collected only if the command names files or folders",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect no other tests if the command line names no files."""
    if config.getoption("mdpo_plugin") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)  # before -k, -m and --lf choose among the items
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one item for each component of the named plugins."""
    for name in dict.fromkeys(config.getoption("mdpo_plugin")):
        collected: list[pytest.Item | pytest.Collector] = list(
            _Plugin.from_parent(session, name=name, nodeid=name).collect()
        )
        # pytest counts the items in collection reports.
        config.hook.pytest_collectreport(report=pytest.CollectReport(name, "passed", None, collected))
        items.extend(item for item in collected if isinstance(item, pytest.Item))


class _Plugin(pytest.Collector):
    """Collects one item for each component of a plugin."""

    def collect(self) -> Iterator[pytest.Item]:
        from mdpo_core import PluginError
        from mdpo_core.testing import contract_cases

        try:
            cases = contract_cases(self.name)
        except PluginError as error:
            raise pytest.UsageError(f"--mdpo-plugin {self.name}: {error}") from error
        for case in cases:
            yield _Contract.from_parent(self, name=f"{case.kind}-{case.name}", case=case)


class _Contract(pytest.Item):
    """Checks the contract of one component."""

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
        """The message of a failed contract, and the line of the component that raised an exception, if any."""
        if self.config.getoption("fulltrace"):
            return super().repr_failure(excinfo, style)
        error = excinfo.value
        is_contract = isinstance(error, AssertionError) and str(error) != ""
        message = str(error) if is_contract else "".join(traceback.format_exception_only(error)).rstrip()
        if is_contract and error.__cause__ is None:
            return f"{message}\n{_HINT}"
        [line] = traceback.format_list([self._case.frame_of(error.__cause__ or error)])
        return f"{message}\n{line}{_HINT if is_contract else _ALL}"

    def reportinfo(self) -> tuple[str, int | None, str]:
        return inspect.getfile(self._case.component), None, self.name
