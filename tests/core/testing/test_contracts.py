"""Every component of ours against the contract of its kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from mdpo_core import Corruption, Example, RowLogProb, RunSize, Sample, component
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.offers import KINDS
from mdpo_core.testing import (
    PILLOW_MODES,
    check_adapter,
    check_anchor,
    check_backend,
    check_corruption,
    check_evaluator,
    check_loss,
    check_optimizer,
    check_reader,
    check_tracker,
)

LOG_2 = math.log(2)
LABEL = {"label": st.sampled_from([0.0, 1.0])}
FIRST_IS_BETTER = {"chosen_score": st.floats(1, 5), "rejected_score": st.floats(-5, 0.5)}
FIRST_WINS = {"chosen_probability": st.floats(0.5, 1), "rejected_probability": st.floats(0, 0.5)}


class SteadyPolicy:
    """Says the same of every picture, and sees the same without it; the least that an evaluator needs."""

    answers: ClassVar = {"chosen": "yes", "rejected": "no"}  # which the probe needs
    held_out = (Example("1", "?", answers, source="boats"), Example("2", "?", answers))
    trained_on = held_out
    conditions: Mapping[str, Corruption] = {}
    size = RunSize(num_steps=10, pairs_a_step=4, num_views=2, num_conditions=0)

    def keep_samples(self, samples: Sequence[Sample]) -> None:
        assert samples

    def log_probs(
        self, examples: Sequence[Example], response: str = "chosen", corruption: Corruption | None = None
    ) -> list[RowLogProb]:
        return self.log_probs_of(examples, (response,), corruption)[response]

    def log_probs_of(
        self, examples: Sequence[Example], responses: Sequence[str], corruption: Corruption | None = None
    ) -> dict[str, list[RowLogProb]]:
        return {name: [RowLogProb(each.id, each.source, True, -9.0, 3) for each in examples] for name in responses}

    def generate(
        self, examples: Sequence[Example], max_new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[str]:
        return ["the picture shows a one , a two , a three and a four ."] * len(examples)

    def answer(self, questions: Sequence[Example], max_new_tokens: int) -> list[str]:
        return self.generate(questions, max_new_tokens)

    def metrics(self, examples: Sequence[Example], *, by_source: bool = False) -> dict[str, float]:
        return {"loss": 1.0, "rewards/chosen": 0.25}


def digits_rows() -> Sequence[Example]:
    return component("reader", "digits", num_pairs=4).open()[:]  # type: ignore[attr-defined,no-any-return]


def make(kind: str, name: str, **options: Any) -> Any:
    return component(kind, name, **options)


def corruption_contract(name: str, varies: bool) -> Callable[[Path, Path, Path], None]:
    options = NAMES.get(name, {})
    # Region noise works on other modes as diffusion noise does, whose code it is.
    modes = () if options else PILLOW_MODES
    return lambda *_: check_corruption(make("corruption", name, **options), varies=varies, modes=modes)


# What they take from a row, as the contract names it.
NAMES = {
    "dataset_image": {"picture": "other"},
    "dataset_prompt": {"prompt": "other"},
    "region_mask": {"boxes": "regions"},
    "region_noise": {"boxes": "regions"},
}
# Which of them draw something.
CORRUPTIONS = {
    "random_crop": True,
    "moco_v2": True,
    "other_image": True,
    "color_jitter": True,
    "gaussian_noise": True,
    "diffusion_noise": True,
    "region_mask": False,
    "region_noise": True,
    "patch_mask": True,
    "token_drop": True,
    "rotate": True,
    "flip": False,
    "blur": False,
    "pixelate": False,
    "no_image": False,
    "dataset_image": False,
    "dataset_prompt": False,
    "blank": False,
}
CONTRACTS: dict[tuple[str, str], Callable[[Path, Path, Path], None]] = {
    ("loss", "dpo"): lambda *_: check_loss(make("loss", "dpo"), indifference=LOG_2),
    ("loss", "robust_dpo"): lambda *_: check_loss(make("loss", "robust_dpo"), indifference=LOG_2),
    ("loss", "ipo"): lambda *_: check_loss(make("loss", "ipo"), indifference=25, differences_only=False),
    ("loss", "hinge"): lambda *_: check_loss(make("loss", "hinge"), indifference=1),
    ("loss", "exo"): lambda *_: check_loss(make("loss", "exo"), indifference=-LOG_2 - math.log(0.999 * 0.001) / 2),
    ("loss", "discopop"): lambda *_: check_loss(make("loss", "discopop"), indifference=(LOG_2 + 1) / 2, lead=20),
    ("loss", "f_dpo"): lambda *_: check_loss(make("loss", "f_dpo"), indifference=LOG_2),
    ("loss", "nca"): lambda *_: check_loss(make("loss", "nca"), indifference=2 * LOG_2, differences_only=False),
    ("loss", "apo"): lambda *_: check_loss(make("loss", "apo"), indifference=1, differences_only=False),
    ("loss", "dpop"): lambda *_: check_loss(make("loss", "dpop"), indifference=LOG_2, differences_only=False),
    ("loss", "dpo_norm"): lambda *_: check_loss(make("loss", "dpo_norm"), indifference=LOG_2, differences_only=False),
    ("loss", "length_dpo"): lambda *_: check_loss(make("loss", "length_dpo")),
    ("loss", "odpo"): lambda *_: check_loss(make("loss", "odpo"), columns=FIRST_IS_BETTER),
    ("loss", "soft_dpo"): lambda *_: check_loss(
        make("loss", "soft_dpo"), indifference=LOG_2, columns={"preference_probability": st.floats(0.5, 1)}
    ),
    ("loss", "spa"): lambda *_: check_loss(
        make("loss", "spa"), indifference=LOG_2, columns={"low_confidence": st.sampled_from([0.0, 1.0])}
    ),
    ("loss", "sppo"): lambda *_: check_loss(make("loss", "sppo"), differences_only=False, columns=FIRST_WINS),
    ("loss", "gpo"): lambda *_: check_loss(make("loss", "gpo"), differences_only=False, columns=FIRST_IS_BETTER),
    ("loss", "slic"): lambda *_: check_loss(make("loss", "slic"), differences_only=False),
    ("loss", "simpo"): lambda *_: check_loss(make("loss", "simpo"), differences_only=False),
    ("loss", "cpo"): lambda *_: check_loss(make("loss", "cpo"), differences_only=False),
    ("loss", "orpo"): lambda *_: check_loss(make("loss", "orpo"), differences_only=False),
    ("loss", "alphapo"): lambda *_: check_loss(make("loss", "alphapo"), differences_only=False),
    ("loss", "ld_dpo"): lambda *_: check_loss(make("loss", "ld_dpo"), indifference=LOG_2, differences_only=False),
    ("loss", "tdpo"): lambda *_: check_loss(make("loss", "tdpo"), indifference=LOG_2, differences_only=False),
    ("loss", "wpo"): lambda *_: check_loss(make("loss", "wpo"), differences_only=False),
    ("loss", "aot"): lambda *_: check_loss(make("loss", "aot")),
    ("loss", "bco"): lambda *_: check_loss(make("loss", "bco"), indifference=2 * LOG_2, differences_only=False),
    ("loss", "bco_unpaired"): lambda *_: check_loss(
        make("loss", "bco_unpaired"), indifference=LOG_2, differences_only=False, columns=LABEL
    ),
    ("loss", "kto"): lambda *_: check_loss(
        make("loss", "kto"), indifference=0.5, differences_only=False, columns=LABEL
    ),
    ("loss", "softmax_dpo"): lambda *_: check_loss(
        make("loss", "softmax_dpo", over=["rejected", "chosen@crop"]), indifference=math.log(3)
    ),
    ("loss", "listwise"): lambda *_: check_loss(
        make("loss", "listwise", order=["chosen", "rejected", "chosen@crop"]), indifference=math.log(6)
    ),
    ("loss", "s_vco"): lambda *_: check_loss(make("loss", "s_vco"), indifference=4 * LOG_2),
    ("loss", "symmpo"): lambda *_: check_loss(make("loss", "symmpo"), indifference=4 * LOG_2, differences_only=False),
    ("loss", "chip"): lambda *_: check_loss(make("loss", "chip"), indifference=LOG_2),
    ("loss", "ddpo"): lambda *_: check_loss(make("loss", "ddpo"), indifference=LOG_2, differences_only=False),
    ("loss", "dmpo"): lambda *_: check_loss(make("loss", "dmpo"), indifference=LOG_2, differences_only=False),
    ("loss", "v_dpo"): lambda *_: check_loss(
        make("loss", "v_dpo", guidance=1.5, language_bias=0.5), differences_only=False
    ),
    ("loss", "visual_tpo"): lambda *_: check_loss(
        make("loss", "visual_tpo", base=0.5), indifference=LOG_2, differences_only=False
    ),
    ("loss", "c3po"): lambda *_: check_loss(
        make("loss", "c3po", k=0.5, temperature=2.0),
        differences_only=False,
        columns={"scope": st.sampled_from([0.0, 1.0, 2.0])},
    ),
    ("anchor", "hpo"): lambda *_: check_anchor(
        make("anchor", "hpo", weight=1, alpha=1.0), columns={"advantage": st.floats(-5, 5)}
    ),
    ("loss", "sparse_po"): lambda *_: check_loss(make("loss", "sparse_po"), differences_only=False),
    ("loss", "spo"): lambda *_: check_loss(
        make("loss", "spo", weight=1, degrees=["chosen", "less"]), differences_only=False
    ),
    ("loss", "rationale"): lambda *_: check_loss(make("loss", "rationale"), differences_only=False),
    ("anchor", "reward"): lambda *_: check_anchor(make("anchor", "reward"), indifference=LOG_2),
    **{("corruption", name): corruption_contract(name, varies) for name, varies in CORRUPTIONS.items()},
    ("anchor", "sft"): lambda *_: check_anchor(make("anchor", "sft")),
    ("anchor", "squared"): lambda *_: check_anchor(make("anchor", "squared"), direction="both", indifference=0),
    ("corruption", "mismatched"): lambda *_: check_corruption(make("corruption", "mismatched")),
    ("backend", "fsdp"): lambda *_: check_backend(make("backend", "fsdp")),
    ("backend", "local"): lambda *_: check_backend(make("backend", "local", device="cpu")),
    ("backend", "deepspeed"): lambda *_: check_backend(make("backend", "deepspeed", precision="fp32")),
    ("reader", "digits"): lambda *_: check_reader(make("reader", "digits")),
    ("reader", "scenes"): lambda *_: check_reader(make("reader", "scenes")),
    ("adapter", "scenes"): lambda *_: check_adapter(
        make("adapter", "scenes"),
        component("reader", "scenes", num_pairs=4).open()[:],  # type: ignore[attr-defined]
    ),
    ("evaluator", "scenes"): lambda folder, *_: check_evaluator(
        make("evaluator", "scenes", of={"benchmark": "pope"}, share=0.02), SteadyPolicy(), folder
    ),
    ("reader", "pairs"): lambda folder, pairs, images: check_reader(
        make("reader", "pairs", path=str(pairs), images=images)
    ),
    ("adapter", "digits"): lambda *_: check_adapter(make("adapter", "digits"), digits_rows()),
    ("evaluator", "digits"): lambda folder, *_: check_evaluator(
        make("evaluator", "digits", num_mosaics=8), SteadyPolicy(), folder
    ),
    ("evaluator", "samples"): lambda folder, *_: check_evaluator(make("evaluator", "samples"), SteadyPolicy(), folder),
    ("evaluator", "probe"): lambda folder, *_: check_evaluator(make("evaluator", "probe"), SteadyPolicy(), folder),
    ("evaluator", "preference"): lambda folder, *_: check_evaluator(
        make("evaluator", "preference", by_source=True), SteadyPolicy(), folder
    ),
    **{
        ("optimizer", name): lambda *_, name=name: check_optimizer(make("optimizer", name))
        for name in ("adamw", "adafactor", "muon")
    },
    ("tracker", "curves"): lambda folder, *_: check_tracker(make("tracker", "curves"), folder),
    ("tracker", "tensorboard"): lambda folder, *_: check_tracker(make("tracker", "tensorboard"), folder),
}
# In plugins/llava/test_adapter.py, with photographs, and in plugins/vlm/test_originals.py, with upstream's checkpoints.
ELSEWHERE = {("adapter", "chat_vlm"), ("adapter", "llava"), ("adapter", "bunny")}
# In plugins/trackers/services/test_services.py, where their libraries are installed.
ELSEWHERE |= {("tracker", name) for name in ("wandb", "mlflow", "trackio", "swanlab")}
# In plugins/readers/test_named_formats.py and test_mixture.py, with a file of each format.
NAMED_FORMATS = (
    "align_anything arena argilla bpo distilabel ha_dpo hound llamafactory llava_rlhf mixture mm_rlhf mmpr openai "
    "povid rlaif_v rlhf_v sentinel seva swift trl vlfeedback"
)
ELSEWHERE |= {("reader", name) for name in NAMED_FORMATS.split()}
# In plugins/corruptions/test_frames.py.
ELSEWHERE |= {("corruption", name) for name in ("drop_frames", "other_video", "reverse_frames", "shuffle_frames")}


# In plugins/objectives/test_strengths.py, with the columns of each.
ELSEWHERE |= {("strength", name) for name in ("beta_dpo", "column", "dama", "madpo", "mm_rlhf")}


# In plugins/optimizers/test_optimizers.py, where bitsandbytes is installed.
ELSEWHERE |= {("optimizer", "adamw_8bit"), ("optimizer", "paged_adamw_8bit")}


# In plugins/benchmarks/, with files of each, and the evaluator that asks them.
_BENCHMARKS = ("amber", "chair", "hallusionbench", "mme", "mmhal", "object_halbench", "pope")
ELSEWHERE |= {("benchmark", name) for name in _BENCHMARKS}
ELSEWHERE |= {("evaluator", "benchmark")}


@pytest.mark.parametrize(("kind", "name"), CONTRACTS)
def test_a_component_keeps_the_contract_of_its_kind(
    kind: str, name: str, tmp_path: Path, pairs: Path, photographs: Path
) -> None:
    CONTRACTS[kind, name](tmp_path, pairs, photographs)


def test_no_component_is_left_out() -> None:
    registry = current_registry()
    ours = {(kind, name) for kind in KINDS for name in registry.components(kind)}
    assert ours - registry.registered().keys() == CONTRACTS.keys() | ELSEWHERE
