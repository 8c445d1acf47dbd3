"""Output into a pipe whose reader, such as `head`, stops reading before the end."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

_STDOUT = 1


def until_nobody_reads(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; end without a message if nobody reads the output any more."""
    try:
        code = command()
        print(end="", flush=True)  # noqa: T201
        return code
    except BrokenPipeError:
        if not nobody_reads():
            raise
        # Python flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        return 1


def nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed. Other pipes can break, too."""
    poll = select.poll()
    poll.register(_STDOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
