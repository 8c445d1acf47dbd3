"""The contract of model adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.errors import shown
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.model import Placement, VisionLanguageModel
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.testing.adapters.encoder import check_encoder
from mdpo_core.testing.sentences import calling, check_options, name_of, require
from mdpo_core.types.example import Example

if TYPE_CHECKING:
    from torch import Tensor, nn

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def check_adapter(
    adapter: ModelAdapter, examples: Sequence[Example], reload: Callable[[Path], nn.Module] | None = None
) -> None:
    """Check an adapter in float32 on the CPU; raises `AssertionError` with what it breaks.

    ``examples``: at least two valid examples, one of them with an image. Prompts and responses of different lengths,
    and an example without an image, find more mistakes. ``reload``: loads the exported model as a user would, with
    transformers or peft; it must have the parameters of the trained model.
    """
    check_options(adapter, ModelAdapter)
    if len(examples) < 2 or not any(example.images for example in examples):
        raise ValueError("check_adapter needs at least two examples, one of them with an image")
    with calling(adapter, "in check()"):
        adapter.check()
    with calling(adapter, "in files()"):
        missing = [path for path in adapter.files() if not path.is_file()]
    require(not missing, f"{name_of(adapter)} names files that do not exist: {missing}")
    with calling(adapter, "when its encoder is tried"):
        check_encoder(name_of(adapter), adapter.encoder, examples)
    model = _load(adapter)
    with calling(adapter, "when the parts of its model are checked"):
        _check_parts(adapter, model)
        _check_frozen(adapter)
    with calling(adapter, "when its model is scored, trained and generates"):
        _check_behaviour(adapter, model, examples)
    with calling(adapter, "when its model is exported and loaded"):
        _check_export(adapter, model, reload)
        _check_log_probs_of_exports(adapter, model, examples)


def _load(adapter: ModelAdapter, trainable: bool = True) -> VisionLanguageModel:
    """Load with a fixed seed, as a run does, without changing the caller's random generator."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with calling(adapter, f"in load(), trainable={trainable}"):
            model = adapter.load(Placement(), trainable=trainable)
    known = isinstance(getattr(model, "module", None), torch.nn.Module)
    require(
        known,
        f"{name_of(adapter)} returns {shown(model)} for load(); it must return a model with a torch module in .module",
    )
    return model


def _check_parts(adapter: ModelAdapter, model: VisionLanguageModel) -> None:
    name = name_of(adapter)
    known = [parameter for parameter, _ in model.module.named_parameters()]
    named = [parameter for part in model.parts().values() for parameter in part]
    twice = sorted({parameter for parameter in named if named.count(parameter) > 1})
    require(not twice, f"{name} lists parameters in more than one part: {twice[:3]}")
    different = sorted(set(known) ^ set(named))
    require(
        not different,
        f"{name} has parameters that are in no part, or parts with names that are not parameters: {different[:3]}",
    )
    trained = [parameter for parameter, value in model.module.named_parameters() if value.requires_grad]
    require(bool(trained), f"{name} loads a model in which nothing trains")
    for part, training in adapter.training.items():
        trains = not set(model.parts().get(part, ())).isdisjoint(trained)
        setting = f"the recipe of {name} sets the part '{part}' to {training.mode}"
        require(
            trains == (training.mode != "frozen"), f"{setting}, but {'something' if trains else 'nothing'} in it trains"
        )
    again = dict(_load(adapter).module.named_parameters())
    random = [parameter for parameter, value in model.module.named_parameters() if not value.equal(again[parameter])]
    require(not random, f"{name} loads different weights with the same seed: {random[:3]}")


def _check_frozen(adapter: ModelAdapter) -> None:
    reference = _load(adapter, trainable=False)
    trained = [name for name, value in reference.module.named_parameters() if value.requires_grad]
    require(not trained, f"{name_of(adapter)} loads a reference model with parameters that train: {trained[:3]}")


def _check_behaviour(adapter: ModelAdapter, model: VisionLanguageModel, examples: Sequence[Example]) -> None:
    from mdpo_core.testing.adapters import model as model_contract
    from mdpo_core.testing.adapters import shared_prefix

    tested = model_contract.ModelUnderTest(name_of(adapter), adapter.encoder(), examples)
    reference = _load(adapter, trainable=False)
    model.set_training(False)
    model_contract.check_sizes(tested, model)
    model_contract.check_padding(tested, model)
    model_contract.check_batching(tested, model)
    model_contract.check_reference(tested, model, reference)
    model_contract.check_generation(tested, model)
    model_contract.check_gradients(tested, model)
    model_contract.change_what_trains(model)
    model_contract.check_dropout(
        tested, model, drops=any(each.lora is not None and each.lora.dropout > 0 for each in adapter.training.values())
    )
    if adapter.has_lora:
        model_contract.check_adapter_disabled(tested, model, reference)
    shared_prefix.check_recomputed(tested, model, Scoring(share_prefix=False))
    if adapter.shares_prefix:
        shared_prefix.check_shared_prefix(tested, model)
        shared_prefix.check_recomputed(tested, model, Scoring())


def _check_export(
    adapter: ModelAdapter, model: VisionLanguageModel, reload: Callable[[Path], nn.Module] | None
) -> None:
    name, before = name_of(adapter), _weights(model.module)
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        require(any(path.suffix == ".safetensors" for path in files), f"{name} exports no safetensors: {files}")
        pickles = [path.name for path in files if path.suffix in _PICKLES]
        require(not pickles, f"{name} exports {pickles}; weights must be in safetensors")
        exports = [_weights(adapter.load_exported(Path(folder), Placement())[1].module)]
        exports += [] if reload is None else [_weights(reload(Path(folder)))]
    require(_equal(before, _weights(model.module)), f"{name} changes the model when it exports it")
    for loaded in exports:
        absent = sorted(before.keys() ^ loaded.keys())
        require(not absent, f"{name} exports a model with other parameters than the trained one: {absent[:3]}")
        wrong = [parameter for parameter in before if not before[parameter].equal(loaded[parameter])]
        require(not wrong, f"{name} exports other values than the trained ones: {wrong[:3]}")


def _check_log_probs_of_exports(adapter: ModelAdapter, model: VisionLanguageModel, examples: Sequence[Example]) -> None:
    """Compare exports with the trained model: plain, then with LoRA merged, which changes the model for good."""
    from mdpo_core.testing.adapters import model as model_contract

    name = name_of(adapter)
    model.set_training(False)
    trained = model_contract.everything(model_contract.ModelUnderTest(name, adapter.encoder(), examples), model)
    for merge in (False, True) if adapter.has_lora else (False,):
        with tempfile.TemporaryDirectory() as folder:
            model.export(Path(folder), merge=merge)
            encoder, loaded = adapter.load_exported(Path(folder), Placement())
            exported = model_contract.everything(model_contract.ModelUnderTest(name, encoder, examples), loaded)
        form = "with LoRA merged" if merge else "as it is"
        model_contract.require_close(exported, trained, f"{name} exports a model ({form}) that gives other log-probs")


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.named_parameters()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
