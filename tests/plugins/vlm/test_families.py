"""Every family of `chat_vlm` against plain transformers, on small real models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from mdpo_vlm.families import FAMILIES, UNKNOWN, family_of
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.builders.small_vlms import NIGHTLY, SMALL, build_vlm, every_family, one_family_of_each_mechanism
from support.oracles.plain_vlms import NATS, VIEWS, adapter, examples, gap, plain_inputs
from support.oracles.support_matrix import line, needs, row
from support.paths import ROOT
from torch import nn
from transformers import AutoConfig, AutoModelForMultimodalLM, LlamaConfig

from mdpo_core import (
    IMAGE_MARK,
    DataError,
    Decoding,
    Example,
    Placement,
    PluginError,
    Turn,
    VisionLanguageModel,
    component,
)
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing import check_adapter
from mdpo_core.training.speed.matrices import has_experts

PAGE = ROOT / "docs" / "guides" / "models.md"
LORA = {"rank": 4, "alpha": 8, "dropout": 0.5}
# A test of one forward tries every family; one that takes seconds tries one of each mechanism first.
FEW_FAMILIES = one_family_of_each_mechanism(others=pytest.mark.long)
FEWEST_FAMILIES = one_family_of_each_mechanism()


@pytest.fixture(scope="module", params=every_family())
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(family, tmp_path_factory.mktemp(family))


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])
def test_log_probs_equal_one_forward_of_plain_transformers(
    options: Scoring, family: str, folder: Path, photographs: Path
) -> None:
    data = examples(family, photographs)
    assert len(data) >= 3
    assert gap(family, folder, data, options) <= NATS


@pytest.mark.parametrize("family", FEWEST_FAMILIES, indirect=True)
def test_logits_in_chunks_give_the_same_log_probs(family: str, folder: Path, photographs: Path) -> None:
    assert gap(family, folder, examples(family, photographs), Scoring(max_logits=700)) <= NATS


@pytest.mark.parametrize("family", FEW_FAMILIES, indirect=True)
def test_the_support_matrix_says_what_was_tried(family: str, folder: Path, photographs: Path) -> None:
    lines, special = PAGE.read_text().splitlines(), needs(family)
    assert line(row(family, folder, photographs)) in lines
    assert special is None or line(special) in lines


@pytest.mark.parametrize("decoding", [Decoding(8), Decoding(8, temperature=0.7, top_p=0.9, seed=3)])
@pytest.mark.parametrize("family", FEWEST_FAMILIES, indirect=True)
def test_generation_is_transformers_own(decoding: Decoding, family: str, folder: Path, photographs: Path) -> None:
    made, data = adapter(family, folder), examples(family, photographs)
    encoder, model = made.encoder(), made.load(Placement())
    plain = AutoModelForMultimodalLM.from_pretrained(folder).eval()
    prompts = [encoder.encode_prompt(example) for example in data]
    # Drawn ones depend on the batch, so that only one alone can be compared.
    answers = model.generate(prompts, decoding) if decoding.temperature == 0 else model.generate(prompts[:1], decoding)
    for example, answer in zip(data, answers, strict=False):
        inputs, length = plain_inputs(family, folder, example, None)
        drawn = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0}
        how = drawn if decoding.temperature else {"do_sample": False}
        torch.manual_seed(3)
        ids = plain.generate(**inputs, max_new_tokens=8, **how)[0, length:].tolist()
        end = plain.generation_config.eos_token_id
        assert answer.tolist() == (ids[: ids.index(end)] if end in ids else ids)


@pytest.mark.parametrize("family", FEW_FAMILIES, indirect=True)
def test_the_contract_of_adapters_holds_with_lora(family: str, folder: Path, photographs: Path) -> None:
    def reload(exported: Path) -> nn.Module:
        return PeftModel.from_pretrained(AutoModelForMultimodalLM.from_pretrained(folder), exported)

    check_adapter(adapter(family, folder, lora=LORA), examples(family, photographs), reload)


@pytest.mark.parametrize("family", one_family_of_each_mechanism(pytest.mark.long), indirect=True)
def test_the_contract_of_adapters_holds_for_all_parts(family: str, folder: Path, photographs: Path) -> None:
    made = adapter(family, folder, freeze=())
    check_adapter(made, examples(family, photographs), AutoModelForMultimodalLM.from_pretrained)


def test_every_parameter_is_in_the_part_that_its_name_says(family: str, folder: Path) -> None:
    parts = adapter(family, folder).load(Placement()).parts()
    assert all(parts.values())
    language = ("language_model", "text_model", "lm_head")
    if family == "phi4_multimodal":  # its language model is the whole one
        language = ("model.layers.", "model.norm.", "embed_tokens.", "lm_head")
    assert all(any(word in name for word in language) for name in parts["language"])
    assert all(any(word in name for word in ("vision", "visual", "img_processor")) for name in parts["vision"])
    words = (
        "projector",
        "merger",
        "connector",
        "newline",
        "aligner",
        "downsample",
        "embed_vision",
        "audio",
        "visual_embeddings",
        "img_projection",
        "img_feature_extensor",
    )
    assert all(any(word in name for word in words) for name in parts["projector"])


def test_a_row_says_whether_layers_have_experts(family: str, folder: Path) -> None:
    made = adapter(family, folder)
    assert made.has_routers == has_experts(made.sketch("float32"))


def test_a_number_of_images_that_a_family_does_not_take_is_named(family: str, folder: Path) -> None:
    least, most = FAMILIES[family].num_images
    picture = PIL.Image.new("RGB", (30, 30))
    for number in ([0] if least else []) + ([2] if most == 1 else []):
        with pytest.raises(DataError, match=f"{number} images; a model of this family takes"):
            adapter(family, folder).encoder().encode_prompt(
                Example("1", IMAGE_MARK * number + "What?", {}, (picture,) * number)
            )


def test_a_conversation_goes_through_the_template_turn_by_turn(tmp_path: Path) -> None:
    encoder = adapter("qwen2_vl", build_vlm("qwen2_vl", tmp_path)).encoder()
    picture, other = PIL.Image.new("RGB", (60, 60), "red"), PIL.Image.new("RGB", (60, 90))
    turns = (
        Turn("system", "Be brief."),
        Turn("user", f"{IMAGE_MARK}\nWhat is it?"),
        Turn("assistant", "Red."),
        Turn("user", f"And {IMAGE_MARK} this?"),
    )
    encoded = encoder.encode_prompt(Example("1", turns, {}, (picture, other)))
    image = "<|vision_start|>{}<|vision_end|>"
    first, second = (image.format("<|image_pad|>" * number) for number in (4, 6))
    assert encoder.processor.tokenizer.decode(encoded.token_ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{first}What is it?<|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>\n"
        f"<|im_start|>user\nAnd {second} this?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [image["image_grid_thw"].tolist() for image in encoded.images] == [[[1, 4, 4]], [[1, 6, 4]]]


def drop_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_model_without_chat_template_is_named(tmp_path: Path) -> None:
    folder = build_vlm("llava", tmp_path)
    drop_template(folder)
    with pytest.raises(DataError, match=r"no chat template; set model.prompts: ready"):
        adapter("llava", folder).encoder()


def test_a_conversation_needs_the_template(tmp_path: Path) -> None:
    folder = build_vlm("llava", tmp_path)
    encoder = component("adapter", "chat_vlm", path=str(folder), prompts="ready").encoder()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"is a conversation, which needs model.prompts: chat"):
        encoder.encode_prompt(Example("1", (Turn("user", "What?"),), {}))
    with pytest.raises(DataError, match=r"the prompt is a bare question, which the reader gives as a turn of a chat"):
        encoder.encode_prompt(Example("1", (Turn("user", "What?"),), {}))


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl", pytest.param("minicpmv4_7", marks=NIGHTLY)])
def test_positions_in_one_dimension_would_be_noticed(
    family: str, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above has teeth: text's positions, for images, are nats away."""
    folder = build_vlm(family, tmp_path)
    made, data = adapter(family, folder), examples(family, photographs)
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build(data, range(len(data)), epoch=0)
    model = made.load(Placement())
    with torch.no_grad():
        right = Scorer(model, TermInputs(tuple(VIEWS)), options=Scoring())(batch).policy[VIEWS[0]].values
        monkeypatch.setattr(model, "_family", replace(FAMILIES[family], grid=""))
        wrong = Scorer(model, TermInputs(tuple(VIEWS)), options=Scoring())(batch).policy[VIEWS[0]].values
    assert float((right - wrong).abs().max()) > 100 * NATS


@pytest.mark.parametrize(
    "family", [pytest.param("gemma3", marks=pytest.mark.long), pytest.param("gemma4", marks=NIGHTLY)]
)
def test_a_wrong_claim_that_prompts_can_be_shared_would_be_noticed(
    family: str, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only for their windows: the tokens of an image attend to one another."""
    folder = build_vlm(family, tmp_path)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    set_config(folder, text_config=text | {"sliding_window": 10**6})
    monkeypatch.setitem(FAMILIES, family, replace(FAMILIES[family], separate=""))  # type: ignore[arg-type]
    assert adapter(family, folder).shares_prefix
    assert gap(family, folder, examples(family, photographs), Scoring()) > 100 * NATS


@pytest.mark.parametrize("family", [pytest.param(name, marks=NIGHTLY) for name in ("mistral3", "mistral4")])
def test_a_picture_of_one_token_may_be_alone(family: str, tmp_path: Path, photographs: Path) -> None:
    """Plain transformers takes it for several."""
    made, data = adapter(family, build_vlm(family, tmp_path)), examples(family, photographs)[:1]
    tiny = replace(data[0], id="tiny", images=(PIL.Image.new("RGB", (20, 20), "red"),))
    builder = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0)
    scorer = Scorer(made.load(Placement()), TermInputs(tuple(VIEWS)), options=Scoring())
    with torch.no_grad():
        alone, beside = (scorer(builder.build(rows, range(len(rows)), epoch=0)) for rows in ([tiny], [tiny, *data]))
    for view in VIEWS:
        values = alone.policy[view].values[0]
        torch.testing.assert_close(beside.policy[view].values[0, : len(values)], values, atol=NATS, rtol=NATS)


def test_every_row_of_the_table_has_a_small_model() -> None:
    assert set(SMALL) == set(FAMILIES)


def test_family_without_row_takes_plain_path_and_keeps_contract(tmp_path: Path, photographs: Path) -> None:
    made = component("adapter", "chat_vlm", path=str(build_vlm("vipllava", tmp_path)), lora=LORA)
    assert made.family() is UNKNOWN  # type: ignore[attr-defined]
    assert not made.shares_prefix  # type: ignore[attr-defined]
    check_adapter(made, examples("llava", photographs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "problem"),
    [("qwen2_vl", "gives different logits in separate calls"), ("gemma3", "gives different logits in separate calls")],
)
def test_family_lacking_a_needed_row_is_refused_at_loading(
    family: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(family, build_vlm(family, tmp_path))
    monkeypatch.setattr("mdpo_vlm.families.FAMILIES", {})
    with pytest.raises(PluginError, match=f"'{family}' has no row .* this model {problem}"):
        made.load(Placement())


def without_image_token(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        file = folder / name
        if file.is_file():
            file.write_text(file.read_text().replace("<image>", "<picture>"))


def with_another_image_token(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_token_id": 9}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_image_token, "the tokenizer has no image token '<image>'"),
        (with_another_image_token, "the image token is 6 in the tokenizer and 9 in config.json"),
    ],
)
def test_a_tokenizer_that_does_not_fit_the_model_is_named(change: Any, message: str, tmp_path: Path) -> None:
    folder = build_vlm("llava", tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("image_token", None)
    config.pop("extra_special_tokens", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    change(folder)
    with pytest.raises(DataError, match=message):
        adapter("llava", folder).encoder()


def test_processor_with_other_image_token_count_is_named(tmp_path: Path, photographs: Path) -> None:
    """A processor that counts image tokens otherwise than the model is named."""
    folder = build_vlm("llava", tmp_path)
    options = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps(options | {"patch_size": 7}))
    data = examples("llava", photographs)[:1]
    with pytest.raises(DataError, match="16 image tokens for 4 image features; do the processor's settings"):
        gap("llava", folder, data, PLAIN)


_MEASURE = """
import sys, resource
from mdpo_core import Placement, component
adapter = component("adapter", "chat_vlm", path=sys.argv[1], lora={"rank": 1})
adapter.encoder()
import mdpo_vlm.loading.load
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = adapter.load(Placement(dtype="float16"))
print(peak() - before)
"""


LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 12}


@pytest.mark.long
@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("llava", LARGE),
        # Its files have experts one by one.
        pytest.param("glm4v_moe", LARGE | {"moe_intermediate_size": 512, "n_routed_experts": 16}, marks=NIGHTLY),
        pytest.param("qwen3_vl_moe", LARGE | {"moe_intermediate_size": 512, "num_experts": 16}, marks=NIGHTLY),
    ],
)
def test_loading_sharded_checkpoint_takes_little_extra_memory(
    family: str, sizes: dict[str, int], tmp_path: Path
) -> None:
    """Loading a sharded checkpoint takes little more memory than the checkpoint has."""
    folder = build_vlm(family, tmp_path)
    config = AutoConfig.from_pretrained(folder)
    config.text_config.update(sizes)
    if hasattr(config.vision_config, "out_hidden_size"):
        config.vision_config.out_hidden_size = sizes["hidden_size"]
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config, dtype=torch.float16)
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60MB")
    shards = list(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in shards)
    assert len(shards) > 4
    assert size > 300e6
    done = subprocess.run([sys.executable, "-c", _MEASURE, str(folder)], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) <= 1.2 * size


def changed_template(folder: Path, change: Callable[[str], str]) -> None:
    file = folder / "chat_template.jinja"
    file.write_text(change(file.read_text()))


def test_template_without_end_token_gets_the_tokenizer_one(tmp_path: Path) -> None:
    """A template that ends an answer in no end token gets the tokenizer's."""
    folder = build_vlm("llava", tmp_path)
    # As published with a slip: a backslash where there should be a slash.
    changed_template(folder, lambda text: text.replace("<|im_end|>\n{% endfor %}", "<\\s> {% endfor %}"))
    encoder = adapter("llava", folder).encoder()
    assert encoder.token_texts(encoder.encode_response("A").tolist()) == ["A", "<|im_end|>"]


def test_a_template_that_opens_answers_in_two_ways_is_named(tmp_path: Path) -> None:
    folder = build_vlm("llava", tmp_path)
    changed_template(folder, lambda text: text + "{% if add_generation_prompt %}<think>{% endif %}")
    with pytest.raises(DataError, match="starts an answer in two different ways"):
        adapter("llava", folder).encoder()


def test_conversation_the_template_refuses_names_its_example(tmp_path: Path) -> None:
    folder = build_vlm("llava", tmp_path)
    refusing = "{% if messages | length > 2 %}{{ raise_exception('roles must alternate') }}{% endif %}"
    changed_template(folder, lambda text: refusing + text)
    turns = (Turn("user", "One."), Turn("user", "Two."), Turn("user", ""))
    with pytest.raises(DataError, match=r"example '7': the chat template does not take .*: roles must alternate"):
        adapter("llava", folder).encoder().encode_prompt(Example("7", turns, {}))


def test_image_tokens_without_an_image_are_refused_everywhere(tmp_path: Path) -> None:
    folder = build_vlm("qwen2_vl", tmp_path)
    chat, ready = (component("adapter", "chat_vlm", path=str(folder), prompts=each) for each in ("chat", "ready"))
    with pytest.raises(DataError, match=r"a response contains the image token '<\|image_pad\|>'"):
        chat.encoder().encode_response("A <|image_pad|> cat")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"example '1': with the chat template, the prompt has 1 image tokens for 0"):
        chat.encoder().encode_prompt(Example("1", "What is <|image_pad|>?", {}))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"example '1': the prompt contains the image token"):
        ready.encoder().encode_prompt(Example("1", "What is <|image_pad|>?", {}))  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", ["gemma3", "llama4", "molmo2", "qwen3_5"])
def test_a_ready_prompt_that_spells_a_feature_of_a_picture_is_refused(family: str, tmp_path: Path) -> None:
    """In some families its token is another one than that of a picture."""
    encoder = adapter(family, build_vlm(family, tmp_path), prompts="ready").encoder()
    [feature] = encoder.token_texts([encoder.image_token])
    images = (PIL.Image.new("RGB", (90, 60)),)
    with pytest.raises(DataError, match=f"example '1': the prompt contains the image token {re.escape(repr(feature))}"):
        encoder.encode_prompt(Example("1", f"{IMAGE_MARK} What is {feature}?", {}, images))


def set_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: set_config(folder, model_type="nothing_known"),
            "transformers has no models of type 'nothing_known'",
        ),
        (lambda folder: LlamaConfig().save_pretrained(folder), "models of type 'llama' take no images"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "is not a JSON object"),
        (
            lambda folder: set_config(folder, model_type="bunny-phi"),
            "layout of the model's authors; use adapter: bunny",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"{}" * 50),
            "its weights cannot be read",
        ),
    ],
    ids=["unknown", "text only", "list", "original", "damaged"],
)
def test_a_folder_of_something_else_is_named(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    made = adapter("llava", build_vlm("llava", tmp_path))
    change(tmp_path)
    with pytest.raises(DataError, match=message):
        load(made)


def load(made: Any) -> None:
    made.check()
    made.encoder()
    made.load(Placement())


def test_llava_with_untried_vision_encoder_has_no_row() -> None:
    assert family_of({"model_type": "llava", "vision_config": {"model_type": "pixtral"}}) is UNKNOWN
    assert family_of({"model_type": "llava", "vision_config": {}}) is FAMILIES["llava"]


def test_image_token_in_a_prompt_is_refused_in_every_family(family: str, folder: Path) -> None:
    """Where a template writes another mark than the image token, too."""
    encoder = adapter(family, folder).encoder()
    text = encoder.token_texts([encoder.image_token])[0]
    least, _ = FAMILIES[family].num_images
    picture = PIL.Image.new("RGB", (30, 30))
    example = Example("1", IMAGE_MARK * least + f"What is {text}?", {}, (picture,) * least)
    with pytest.raises(DataError, match=f"example '1': .*{re.escape(text)}|1 image tokens for 0 images"):
        encoder.encode_prompt(example)
    with pytest.raises(DataError, match=f"response contains .*{re.escape(text)}"):
        encoder.encode_response(f"A {text} cat")


def test_head_that_the_folder_does_not_tie_stays_its_own(tmp_path: Path) -> None:
    """InternVL's configuration class ties head and embedding by default, and its published folders do not say so."""
    folder = build_vlm("internvl", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    [embedding] = [value for name, value in weights.items() if name.endswith("embed_tokens.weight")]
    head = torch.randn(embedding.shape)
    prefix = "language_model." if any(name.startswith("language_model.model") for name in weights) else ""
    save_file({**weights, f"{prefix}lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    model = adapter("internvl", folder).load(Placement())
    [loaded] = [value for name, value in model.module.named_parameters() if name.endswith("lm_head.weight")]
    torch.testing.assert_close(loaded, head)
    sketch = adapter("internvl", folder).sketch("float32")
    assert names(sketch) == names(model)


def names(model: VisionLanguageModel) -> list[tuple[str, torch.Size]]:
    return [(name, value.shape) for name, value in model.module.named_parameters()]
