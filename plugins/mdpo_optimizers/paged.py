"""bitsandbytes' paged AdamW, whose moments stay paged in a resumed run."""

from __future__ import annotations

from typing import Any

import bitsandbytes
from torch import Tensor


class Paged(bitsandbytes.optim.PagedAdamW8bit):  # type: ignore[misc]  # ships no types
    """`PagedAdamW8bit`, which forgets where its moments were when it takes up a state."""

    def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
        """Take up a state, and put its moments where this optimizer puts new ones."""
        super().load_state_dict(state_dict, move_to_device)
        for parameter, state in self.state.items():
            for moment in ("state1", "state2"):
                if moment in state:
                    saved: Tensor = state[moment]
                    state[moment] = self.get_state_buffer(parameter, dtype=saved.dtype).copy_(saved)
