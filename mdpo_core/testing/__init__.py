"""The contract of every kind of component, as functions for tests; docs/extend/contracts.md lists what each checks.

Each ``check_*`` function tries a component. If the component breaks its contract, the function raises
`AssertionError` with one sentence that names the broken property and the case. ``scores()``, ``examples()`` and
``images()`` are hypothesis strategies for your own properties. ``contract_cases()`` gives the contracts of an installed
plugin; ``pytest --mdpo-plugin NAME`` runs them.
"""

from mdpo_core.testing.adapters import check_adapter
from mdpo_core.testing.anchors import check_anchor
from mdpo_core.testing.benchmarks import check_benchmark
from mdpo_core.testing.contracts import ContractCase, NeedsMoreToTry, contract_cases
from mdpo_core.testing.corruptions import PILLOW_MODES, check_corruption
from mdpo_core.testing.engines.backends import check_backend
from mdpo_core.testing.engines.optimizers import check_optimizer
from mdpo_core.testing.losses import check_loss
from mdpo_core.testing.readers import check_reader
from mdpo_core.testing.strategies import examples, images, scores
from mdpo_core.testing.strengths.contract import check_strength
from mdpo_core.testing.watchers import check_evaluator, check_tracker

__all__ = [
    "PILLOW_MODES",
    "ContractCase",
    "NeedsMoreToTry",
    "check_adapter",
    "check_anchor",
    "check_backend",
    "check_benchmark",
    "check_corruption",
    "check_evaluator",
    "check_loss",
    "check_optimizer",
    "check_reader",
    "check_strength",
    "check_tracker",
    "contract_cases",
    "examples",
    "images",
    "scores",
]
