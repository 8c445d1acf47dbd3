"""``python -m mdpo_core.cli``: the command ``mdpo``."""

from mdpo_core.cli.main import main
from mdpo_core.processes.rendezvous import leave

if __name__ == "__main__":
    leave(main())
