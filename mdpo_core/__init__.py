"""mdpo: preference optimization of vision-language models that look at the picture.

It has the public names of `mdpo_core.public`, which is imported when the first of them is used: a command that only
prints its help needs none. None of them imports torch; torch is imported when something is computed.
"""

from __future__ import annotations

# isort: off
# First, for the imports below take long: a command that gets a signal during them says so in one line, too.
from mdpo_core.processes.end_signals import EndSignals as _EndSignals, is_command as _is_command
from mdpo_core.processes.standard_streams import open_closed_streams as _open_closed_streams

if _is_command():
    _open_closed_streams()
    _EndSignals.install()
# isort: on

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdpo_core.public import *  # noqa: F403  # type checkers look the names up there
    from mdpo_core.public import __all__ as __all__

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module 'mdpo_core' has no attribute '{name}'")
    public = import_module("mdpo_core.public")
    if name not in ("__all__", *public.__all__):
        raise AttributeError(f"module 'mdpo_core' has no attribute '{name}'")
    return getattr(public, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__getattr__("__all__")])
