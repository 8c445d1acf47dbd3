"""The numbers in loaded weights."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from mdpo_vlm.files.folder import unfit


def require_numbers(folder: Path, model: nn.Module) -> None:
    """Raise `DataError` for weights that are infinite or not a number: training would go on, and learn nothing."""
    for name, parameter in model.named_parameters():
        # One pass without a copy; a weight that ZeRO-3 has split is empty here.
        if (
            parameter.is_floating_point()
            and parameter.numel()
            and not all(map(math.isfinite, parameter.detach().aminmax()))
        ):
            raise unfit(folder, f"{name} contains numbers that are infinite or NaN; download the weights again")
