"""The model that trains, and its engine."""

from __future__ import annotations

from dataclasses import dataclass

from mdpo_core.interfaces.backend import Engine
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.training.out_of_memory import MemoryAdvice


@dataclass(frozen=True)
class Learner:
    """The policy's model, the engine that trains it, and the advice for when memory runs out."""

    model: VisionLanguageModel
    engine: Engine
    advice: MemoryAdvice
