"""A judge's template: the text around what it is to judge, which is not ours to ship."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mdpo_core import RecipeError, require_file


@dataclass(frozen=True)
class JudgeTemplate:
    """A text with places for fields. ``file``: its name, for errors."""

    file: str
    text: str

    def filled(self, *fields: str) -> str:
        """The text with the fields in its places ``{}``, in order. Raises `RecipeError` if it has others."""
        try:
            return self.text.format(*fields)
        except (LookupError, ValueError, AttributeError) as error:
            message = f"the template has other places than {len(fields)} times {{}}; a brace as text is {{{{ or }}}}"
            raise RecipeError(f"{self.file}: {message} ({error})") from error


def read_template(path: Path, official: str, may_differ: bool) -> JudgeTemplate:
    """The template in a file, to the byte.

    ``official``: the SHA-256 of the official text; `RecipeError` refuses another one unless it ``may_differ``.
    """
    require_file(path)
    stored = path.read_bytes()
    found = hashlib.sha256(stored).hexdigest()
    if found != official and not may_differ:
        raise RecipeError(
            f"{path.name} is not the official template: its SHA-256 is {found}, not {official} (a line break at the "
            "end counts); to use it all the same, add --custom-template, which the result's variant then says"
        )
    try:
        return JudgeTemplate(path.name, stored.decode())
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path.name} is not UTF-8; save it as UTF-8") from error
