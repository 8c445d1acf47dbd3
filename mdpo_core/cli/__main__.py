"""``python -m mdpo_core.cli``: the command ``mdpo``."""

from mdpo_core.cli.main import main

if __name__ == "__main__":
    code = main()
    from mdpo_core.processes.rendezvous import leave  # which the help of a command does not need

    leave(code)
