"""The public names. `mdpo_core` has them all; plugins and scripts import them from there."""

from mdpo_core.benchmarking.answer_files import answers_in_order
from mdpo_core.benchmarking.asked import AskedQuestions
from mdpo_core.benchmarking.evaluator import BenchmarkScore
from mdpo_core.benchmarking.rows import StoredRow, read_rows
from mdpo_core.data.pictures.file_kinds import other_kind
from mdpo_core.data.pictures.images import ImageOptions, read_image
from mdpo_core.errors import (
    CheckpointError,
    DataError,
    MdpoError,
    PluginError,
    Problem,
    RecipeError,
    blame_on,
    by_frequency,
    is_shortage,
    suggestion,
)
from mdpo_core.hooks import hookimpl
from mdpo_core.interfaces.adapter import ModelAdapter, ModelSummary
from mdpo_core.interfaces.backend import Backend, Engine, TrainableScorer
from mdpo_core.interfaces.benchmark.answers import Answer, AnswerNames, Question
from mdpo_core.interfaces.benchmark.benchmark import Benchmark, JudgeUse, Score, require_file
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.corruption import Corruption, ImageCorruption, SelectiveCorruption
from mdpo_core.interfaces.evaluator import Evaluator, Policy, RowLogProb, RunSize, Sample
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.model import (
    Decoding,
    Depth,
    Dtype,
    Encoder,
    Head,
    LayeredModel,
    Placement,
    Routing,
    VisionLanguageModel,
)
from mdpo_core.interfaces.optimizer import AdamW, Optimizer, TrainedWeights, UpdateOptions
from mdpo_core.interfaces.parts import ALL_LINEAR, PARTS, Lora, Part, PartOptions, Parts, PartTraining
from mdpo_core.interfaces.reader import DataSummary, HoldOut, Reader, StoredRows
from mdpo_core.interfaces.strengths.by_row import ByRow
from mdpo_core.interfaces.strengths.strength import BatchMean, ColumnStrength, Pairs, Strength
from mdpo_core.interfaces.term import Anchor, Loss, PairLoss, Term
from mdpo_core.interfaces.tracker import Tracker, TrackerLog
from mdpo_core.interfaces.train_options import Train
from mdpo_core.make_data.generate_rejected import Generation, generate_rejected
from mdpo_core.make_data.job import NewPairs
from mdpo_core.make_data.kept_beginnings import Keep
from mdpo_core.make_data.new_rows import NewRow
from mdpo_core.make_data.relabel import Relabeling, relabel
from mdpo_core.processes.devices import device_of, local_device, peak_memory, require_devices, set_compute_device
from mdpo_core.processes.world import World, current_world
from mdpo_core.recipe.given import RecipeLike
from mdpo_core.recipe.loading import load_recipe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import make_component as component
from mdpo_core.registry.discovery import register
from mdpo_core.reporting.comparison import Comparison, compare
from mdpo_core.result import RunResult
from mdpo_core.runner import run
from mdpo_core.scoring.layers import layers_of
from mdpo_core.servers.client import ChatServer, Patience, RequestStopped, ServerAddress
from mdpo_core.servers.messages import ChatReply, ChatRequest, UnusableReply, reply_in
from mdpo_core.storage.files import atomic_folder, atomic_write, exclusive_folder
from mdpo_core.storage.stored_checks import remembered
from mdpo_core.sweeping.search import search
from mdpo_core.sweeping.space import Range
from mdpo_core.sweeping.sweep import SweepResult, sweep
from mdpo_core.sweeping.trials import Trial
from mdpo_core.training.optimization import parameter_groups, place_step_count, set_learning_rate
from mdpo_core.training.optimizers import Updates
from mdpo_core.types.batch import Batch, EncodedImage, EncodedPrompt, EncodedRow, ImageInputs
from mdpo_core.types.engine_state import MOMENTS, OF_ENGINE, SavedEngineState, TensorSlice, whole_tensor
from mdpo_core.types.example import Begun, Box, DroppedTokens, Example, ExampleField, Flag, Prompt, Role, Turn
from mdpo_core.types.kept_memory import Amount, KeptMemory, OptimizerMemory, WeightSizes
from mdpo_core.types.layout import Packed, PaddedView
from mdpo_core.types.marks import IMAGE_MARK, MARK, OTHER_MARKS, VIDEO_MARK, count_marks, escape_marks, replace_marks
from mdpo_core.types.rows import Block, LazyRows, Rows, RowStream, rows_in_random_order
from mdpo_core.types.scores import ResponseTokens, ScorerOutput, Scores, TokenLogProbs
from mdpo_core.types.stored_bytes import note_file
from mdpo_core.types.transfer import on_cpu, to_device
from mdpo_core.types.view import View
from mdpo_core.use.trained import TrainedModel, load_trained
from mdpo_core.words.amounts import counted

__all__ = [
    "ALL_LINEAR",
    "IMAGE_MARK",
    "MARK",
    "MOMENTS",
    "OF_ENGINE",
    "OTHER_MARKS",
    "PARTS",
    "VIDEO_MARK",
    "AdamW",
    "Amount",
    "Anchor",
    "Answer",
    "AnswerNames",
    "AskedQuestions",
    "Backend",
    "Batch",
    "BatchMean",
    "Begun",
    "Benchmark",
    "BenchmarkScore",
    "Block",
    "Box",
    "ByRow",
    "ChatReply",
    "ChatRequest",
    "ChatServer",
    "CheckpointError",
    "ColumnStrength",
    "Comparison",
    "Component",
    "Corruption",
    "DataError",
    "DataSummary",
    "Decoding",
    "Depth",
    "DroppedTokens",
    "Dtype",
    "EncodedImage",
    "EncodedPrompt",
    "EncodedRow",
    "Encoder",
    "Engine",
    "Evaluator",
    "Example",
    "ExampleField",
    "Flag",
    "Generation",
    "Head",
    "HoldOut",
    "ImageCorruption",
    "ImageInputs",
    "ImageOptions",
    "JudgeUse",
    "Keep",
    "KeptMemory",
    "LayeredModel",
    "LazyRows",
    "Lora",
    "Loss",
    "MdpoError",
    "ModelAdapter",
    "ModelSummary",
    "NewPairs",
    "NewRow",
    "Optimizer",
    "OptimizerMemory",
    "Packed",
    "PaddedView",
    "PairLoss",
    "Pairs",
    "Part",
    "PartOptions",
    "PartTraining",
    "Parts",
    "Patience",
    "Placement",
    "PluginError",
    "Policy",
    "Probe",
    "Problem",
    "Prompt",
    "Question",
    "Range",
    "Reader",
    "Recipe",
    "RecipeError",
    "RecipeLike",
    "Relabeling",
    "RequestStopped",
    "ResponseTokens",
    "Role",
    "Routing",
    "RowLogProb",
    "RowStream",
    "Rows",
    "RunResult",
    "RunSize",
    "Sample",
    "SavedEngineState",
    "Score",
    "ScorerOutput",
    "Scores",
    "SelectiveCorruption",
    "ServerAddress",
    "Statistic",
    "StoredRow",
    "StoredRows",
    "Strength",
    "SweepResult",
    "TensorSlice",
    "Term",
    "TokenLogProbs",
    "Tracker",
    "TrackerLog",
    "Train",
    "TrainableScorer",
    "TrainedModel",
    "TrainedWeights",
    "Trial",
    "Turn",
    "UnusableReply",
    "UpdateOptions",
    "Updates",
    "View",
    "VisionLanguageModel",
    "WeightSizes",
    "World",
    "answers_in_order",
    "atomic_folder",
    "atomic_write",
    "blame_on",
    "by_frequency",
    "compare",
    "component",
    "count_marks",
    "counted",
    "current_world",
    "device_of",
    "escape_marks",
    "exclusive_folder",
    "generate_rejected",
    "hookimpl",
    "is_shortage",
    "layers_of",
    "load_recipe",
    "load_trained",
    "local_device",
    "note_file",
    "on_cpu",
    "other_kind",
    "parameter_groups",
    "peak_memory",
    "place_step_count",
    "read_image",
    "read_rows",
    "register",
    "relabel",
    "remembered",
    "replace_marks",
    "reply_in",
    "require_devices",
    "require_file",
    "rows_in_random_order",
    "run",
    "search",
    "set_compute_device",
    "set_learning_rate",
    "suggestion",
    "sweep",
    "to_device",
    "whole_tensor",
]
