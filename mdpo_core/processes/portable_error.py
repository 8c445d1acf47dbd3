"""Errors that travel to another process."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from mdpo_core.errors import notes_to_send, text_of


@dataclass(frozen=True)
class PortableError:
    """An error that can be pickled, and notes: its own, which some errors lose, and the place of a plugin's fault."""

    error: Exception
    notes: tuple[str, ...]

    @classmethod
    def of(cls, error: Exception) -> PortableError:
        """The error; a `RuntimeError` with its type and message in its place if it cannot be pickled."""
        notes = notes_to_send(error)
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # unpickling calls the error's own class, which can raise anything
            return cls(RuntimeError(f"{type(error).__name__}: {text_of(error)}"), notes)
        return cls(error, notes)

    def to_raise(self) -> Exception:
        """The error, with its notes."""
        if self.notes:
            self.error.__notes__ = list(self.notes)
        return self.error
