"""Tells plugins what happens in a run, from the main process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from mdpo_core.errors import MdpoError, PluginError, raised
from mdpo_core.hooks import silent_hooks
from mdpo_core.processes.world import ALONE, World
from mdpo_core.registry.discovery import current_registry
from mdpo_core.types.read_only import ReadOnly


def progress_of(stage: str, world: World = ALONE) -> Callable[[int, int], object]:
    """A function that a stage calls with the work done and the total work. It calls the hook `mdpo_progress`."""

    def report(done: int, total: int) -> None:
        listeners(world).mdpo_progress(stage=stage, done=done, total=total)

    return report


@contextmanager
def stage(name: str, world: World = ALONE) -> Iterator[None]:
    """The ``with`` is a stage of one piece of work: the hook `mdpo_progress` hears when it begins and ends."""
    report = progress_of(name, world)
    report(0, 1)
    yield
    report(1, 1)


def listeners(world: World) -> Any:
    """The hooks of all plugins in the main process; in other processes, hooks without any plugin.

    A listener gets mappings that it cannot change. An error of a listener names its plugin.
    """
    return _Listeners(current_registry().plugins.hook if world.is_main else silent_hooks())


class _Listeners:
    """Calls hooks, each through the boundary around plugins' code."""

    def __init__(self, hooks: Any) -> None:
        self._hooks = hooks

    def __getattr__(self, name: str) -> Callable[..., None]:
        hook = getattr(self._hooks, name)

        def tell(**told: object) -> None:
            own = {key: ReadOnly(value) if isinstance(value, Mapping) else value for key, value in told.items()}
            try:
                hook(**own)
            except (MdpoError, KeyboardInterrupt):
                raise
            except OSError as error:  # a full disk, a closed pipe: the machine's fault, most often
                error.add_note(f"(in {_source(hook, name, error)})")
                raise
            except BaseException as error:
                raise PluginError(f"{_source(hook, name, error)} {raised(error)}") from error

        return tell


def _source(hook: Any, name: str, error: BaseException) -> str:
    """The plugin whose implementation of a hook raised an error."""
    ran = {frame.f_code for frame, _ in walk_tb(error.__traceback__)}
    plugins = [impl.plugin_name for impl in hook.get_hookimpls() if getattr(impl.function, "__code__", None) in ran]
    return f"the hook {name} of the plugin '{plugins[0]}'" if plugins else f"a plugin's hook {name}"
