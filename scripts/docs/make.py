"""Write every generated page of docs/: ``python scripts/docs/make.py``. Tests compare the pages with the code.

With names of pages (``make.py cli.md api.md``) it writes only those; models.md takes the longest, about a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def pages() -> dict[Path, Callable[[], str]]:
    """What makes the text of each generated page."""
    import api
    import cli
    import coming_from
    import known_plugins
    import make_data
    import make_models
    import make_tables
    import methods
    import metrics

    return {
        make_tables.PAGE: make_tables.page,
        methods.METHODS: methods.methods,
        metrics.PAGE: metrics.page,
        cli.PAGE: cli.page,
        api.PAGE: api.page,
        coming_from.PAGE: coming_from.page,
        make_models.PAGE: make_models.page,
        make_data.PAGE: make_data.page,
        known_plugins.PAGE: known_plugins.page,
    }


def main(names: list[str]) -> None:
    for path, text in pages().items():
        if not names or path.name in names:
            path.write_text(text())


if __name__ == "__main__":
    main(sys.argv[1:])
