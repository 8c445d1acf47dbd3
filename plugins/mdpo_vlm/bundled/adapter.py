"""The adapter of a model that comes with a plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, cast

from mdpo_core import Depth, Dtype, Encoder, ModelAdapter, Placement, VisionLanguageModel, component


class BundledAdapter(ModelAdapter):
    """The LLaVA in the folder ``base``, which lies in the package of a plugin; the base class of such adapters.

    It has the options that all adapters have, but no path. It leaves the work to the adapter `llava`.
    """

    base: ClassVar[Path]

    def check(self) -> None:
        self._llava().check()

    def files(self) -> Sequence[Path]:
        return self._llava().files()

    @property
    def shares_prefix(self) -> bool:
        return self._llava().shares_prefix

    @property
    def takes_noise(self) -> bool:
        return self._llava().takes_noise

    @property
    def has_routers(self) -> bool:
        return self._llava().has_routers

    @property
    def refuses_compiling(self) -> str:
        return self._llava().refuses_compiling

    @property
    def max_positions(self) -> int | None:
        return self._llava().max_positions

    def encoder(self) -> Encoder:
        return self._llava().encoder()

    def load(self, placement: Placement, *, trainable: bool = True) -> VisionLanguageModel:
        return self._llava().load(placement, trainable=trainable)

    def sketch(self, dtype: Dtype, *, depth: int | None = None, trainable: bool = True) -> VisionLanguageModel:
        return self._llava().sketch(dtype, depth=depth, trainable=trainable)

    @property
    def depth(self) -> Depth:
        return self._llava().depth

    def check_exported(self, folder: Path, *, same_base: bool = False) -> None:
        self._llava().check_exported(folder, same_base=same_base)

    def load_exported(self, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
        return self._llava().load_exported(folder, placement)

    @property
    def lost(self) -> str | None:
        return self._llava().lost

    def at(self, path: str) -> ModelAdapter:
        return self._llava().at(path)

    def for_exported(self, folder: Path) -> ModelAdapter:
        return self._llava().for_exported(folder)

    def questions(self) -> Callable[[str], Encoder]:
        return self._llava().questions()

    def name_base(self, folder: Path, name: str) -> None:
        self._llava().name_base(folder, name)

    def needed_by_exports(self) -> str:
        return self._llava().needed_by_exports()

    def _llava(self) -> ModelAdapter:
        return cast(ModelAdapter, component("adapter", "llava", path=str(self.base), **dict(self)))
