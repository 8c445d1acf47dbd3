"""What the site needs beside the pages as they are in the repository; mkdocs.yml names this file."""

from __future__ import annotations

import re


def on_page_markdown(markdown: str, **_: object) -> str:
    """In code in tables, GitHub needs a backslash before a pipe, and MkDocs would print it."""
    return re.sub(r"^\|.*\|$", _without_backslashes, markdown, flags=re.MULTILINE)


def _without_backslashes(row: re.Match[str]) -> str:
    return re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), row[0])
