"""mdpo: preference optimization of vision-language models that look at the picture.

Only names are bound here; torch is imported when something is computed.
"""

from mdpo_core.batch import Batch, EncodedImage, EncodedPrompt, EncodedRow, ImageInputs
from mdpo_core.components import Backend, Component, Evaluator, ModelAdapter, Reader, Tracker
from mdpo_core.corruption import Corruption, ImageCorruption, SelectiveCorruption
from mdpo_core.devices import device_of, local_device, peak_memory, require_devices, set_compute_device
from mdpo_core.errors import CheckpointError, DataError, MdpoError, PluginError, Problem, RecipeError, suggestion
from mdpo_core.example import IMAGE_MARK, Box, DroppedTokens, Example, ExampleField, Prompt, Role, Turn
from mdpo_core.files import atomic_folder, exclusive_folder
from mdpo_core.hooks import hookimpl
from mdpo_core.layers import layers_of
from mdpo_core.layout import Packed, PaddedView
from mdpo_core.loading import load_recipe
from mdpo_core.measurements import Probe, Statistic
from mdpo_core.optimization import parameter_groups, set_learning_rate
from mdpo_core.parts import ALL_LINEAR, PARTS, Lora, Part, PartOptions, Parts, PartTraining
from mdpo_core.protocols import (
    Decoding,
    Encoder,
    Engine,
    Head,
    LayeredModel,
    Placement,
    Policy,
    StoredRows,
    TrackerLog,
    TrainableScorer,
    VisionLanguageModel,
)
from mdpo_core.recipe import Recipe
from mdpo_core.registry import make_component as component
from mdpo_core.registry import register
from mdpo_core.rows import LazyRows, rows_in_random_order
from mdpo_core.run import RunResult, run
from mdpo_core.scores import ResponseTokens, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.state import MOMENTS, SavedEngineState, TensorSlice, whole_tensor
from mdpo_core.terms import Anchor, Loss, PairLoss, Term
from mdpo_core.train_options import Train
from mdpo_core.view import View
from mdpo_core.world import World, current_world

__version__ = "0.1.0"

__all__ = [
    "ALL_LINEAR",
    "IMAGE_MARK",
    "MOMENTS",
    "PARTS",
    "Anchor",
    "Backend",
    "Batch",
    "Box",
    "CheckpointError",
    "Component",
    "Corruption",
    "DataError",
    "Decoding",
    "DroppedTokens",
    "EncodedImage",
    "EncodedPrompt",
    "EncodedRow",
    "Encoder",
    "Engine",
    "Evaluator",
    "Example",
    "ExampleField",
    "Head",
    "ImageCorruption",
    "ImageInputs",
    "LayeredModel",
    "LazyRows",
    "Lora",
    "Loss",
    "MdpoError",
    "ModelAdapter",
    "Packed",
    "PaddedView",
    "PairLoss",
    "Part",
    "PartOptions",
    "PartTraining",
    "Parts",
    "Placement",
    "PluginError",
    "Policy",
    "Probe",
    "Problem",
    "Prompt",
    "Reader",
    "Recipe",
    "RecipeError",
    "ResponseTokens",
    "Role",
    "RunResult",
    "SavedEngineState",
    "ScorerOutput",
    "Scores",
    "SelectiveCorruption",
    "Statistic",
    "StoredRows",
    "TensorSlice",
    "Term",
    "TokenLogProbs",
    "Tracker",
    "TrackerLog",
    "Train",
    "TrainableScorer",
    "Turn",
    "View",
    "VisionLanguageModel",
    "World",
    "atomic_folder",
    "component",
    "current_world",
    "device_of",
    "exclusive_folder",
    "hookimpl",
    "layers_of",
    "load_recipe",
    "local_device",
    "parameter_groups",
    "peak_memory",
    "register",
    "require_devices",
    "rows_in_random_order",
    "run",
    "set_compute_device",
    "set_learning_rate",
    "suggestion",
    "whole_tensor",
]
