"""The image processors that transformers has for torchvision only, made without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

from transformers.models.auto.configuration_auto import model_type_to_module_name
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

from mdpo_vlm.encoding import torch_pixels

_FUNCTIONAL = "torchvision.transforms.v2.functional"
_BASE = "transformers.image_processing_backends"


def image_processor_without_torchvision(model_type: str) -> type[Any] | None:
    """The image processor of a type of models; None if transformers has one for Pillow, or none at all.

    It is the class of transformers, whose operations on pictures are those of `torch_pixels`.
    """
    classes = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type, {})
    return None if "pil" in classes or "torchvision" not in classes else _made(classes["torchvision"])


@cache
def _made(name: str) -> type[Any]:
    """The class ``name``, on a base of its own."""
    with _replaced({**_packages(), _BASE: _base()}):
        made: type[Any] = getattr(_own_copy(_file_of(name)), name)
    return made


@lru_cache(maxsize=1)
def _base() -> ModuleType:
    """The file with the base of these classes. Where torchvision is missing, it leaves out what it takes from there."""
    module: Any = _own_copy(_BASE)
    module.tvF = torch_pixels
    module.pil_torch_interpolation_mapping = torch_pixels.OF_PILLOW
    module.is_torchvision_greater_or_equal = lambda version: True
    return module  # type: ignore[no-any-return]


def _file_of(name: str) -> str:
    """The module with the class ``name``. Types of models may share a class, which is in the file of one of them."""
    types = (kind for kind, classes in IMAGE_PROCESSOR_MAPPING_NAMES.items() if name in classes.values())
    modules = (f"transformers.models.{model_type_to_module_name(kind)}" for kind in types)
    files = (f"{module}.image_processing_{module.rpartition('.')[2]}" for module in modules if find_spec(module))
    return next(file for file in files if find_spec(file))


def _own_copy(name: str) -> ModuleType:
    """A module of transformers that nobody else has, so that theirs keeps its torchvision."""
    spec: Any = find_spec(name)
    module = module_from_spec(spec)
    with _replaced({name: module}):  # its classes read their own source by this name
        spec.loader.exec_module(module)
    return module


def _packages() -> dict[str, ModuleType]:
    """What ``from torchvision.transforms.v2 import functional`` finds: `torch_pixels`."""
    made: dict[str, ModuleType] = {_FUNCTIONAL: torch_pixels}
    name = _FUNCTIONAL
    while "." in name:
        package, _, inner = name.rpartition(".")
        made[package] = ModuleType(package)
        setattr(made[package], inner, made[name])
        name = package
    return made


@contextmanager
def _replaced(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Imports find these modules by these names, and afterwards what they found before."""
    kept = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(kept)
