"""Seconds of processor time (user and system) that commands take which compute nothing.

    python benchmarks/start_up.py

Prints a table in Markdown, with the least of five starts of each. Run it with compiled modules (``__pycache__``), as an
installed package has them.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence

_STARTS = 5
_CLI = [sys.executable, "-m", "mdpo_core.cli"]
COMMANDS: Mapping[str, Sequence[str]] = {
    "python, nothing imported": [sys.executable, "-c", "pass"],
    "import mdpo": [sys.executable, "-c", "import mdpo"],
    "mdpo --help": [*_CLI, "--help"],
    "mdpo --version": [*_CLI, "--version"],
    "mdpo recipes": [*_CLI, "recipes"],
    "mdpo plugins": [*_CLI, "plugins"],
    "mdpo check quickstart": [*_CLI, "check", "quickstart"],
}


def main() -> None:
    """Print the table."""
    print("| command | seconds |\n|---|---:|")
    for name, command in COMMANDS.items():
        seconds = min(_seconds_of(command) for _ in range(_STARTS))
        print(f"| `{name}` | {seconds:.2f} |", flush=True)


def _seconds_of(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
