"""Output into a pipe whose reader, such as `head`, stops reading before the end, or onto a full disk."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

from mdpo_core.processes.standard_streams import discard

_STDOUT = 1


def until_nobody_reads(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; end without a message if nobody reads the output any more."""
    code = 0
    try:
        code = command()
        print(end="", flush=True)  # noqa: T201
        return code
    except BrokenPipeError:
        if not nobody_reads():
            raise
        # Python flushes once more when it exits.
        discard(_STDOUT)
        return 1
    except OSError as error:
        discard(_STDOUT)
        # A command that failed has said why, which may be the same reason.
        if not code:
            print(f"standard output cannot be written: {error}", file=sys.stderr)  # noqa: T201
        return 1


def nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed. Other pipes can break, too."""
    poll = select.poll()
    poll.register(_STDOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
