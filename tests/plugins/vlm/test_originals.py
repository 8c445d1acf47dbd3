"""Checkpoints in their authors' layouts: what they are converted into, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.builders.original_checkpoints import (
    LANGUAGES,
    as_other_files,
    build_bunny,
    changed_config,
    changed_weights,
    copied,
)
from support.oracles.upstream import FOLDER, Upstream, all_cases
from support.paths import TESTS

from mdpo_core import DataError, Decoding, Example, Placement, RecipeError, component
from mdpo_core.testing import check_adapter
from mdpo_core.types.layout import pad_view

LORA = {"rank": 4, "alpha": 8, "dropout": 0.5}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("MDPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def bunny(folder: Path, **options: Any) -> Any:
    return component("adapter", "bunny", path=str(folder), **options)


def llava(folder: Path, **options: Any) -> Any:
    return component("adapter", "llava", path=str(folder), **options)


def example(photographs: Path, prompt: str = "USER: <image>\nWhat is it? ASSISTANT:") -> Example:
    with PIL.Image.open(sorted(photographs.iterdir())[0]) as image:
        return Example("1", prompt, {"chosen": "A red cup.", "rejected": "A dog"}, (image.convert("RGB"),))


def converted_weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


# What is made of a checkpoint.


@pytest.mark.parametrize("spare", [0, 7])
@pytest.mark.parametrize("model_type", LANGUAGES)
def test_each_language_model_computes_what_its_parts_do_by_hand(
    model_type: str, spare: int, tmp_path: Path, photographs: Path
) -> None:
    parts = build_bunny(tmp_path / "bunny", model_type, spare)
    adapter, row = bunny(tmp_path / "bunny"), example(photographs)
    encoder, model = adapter.encoder(), adapter.load(Placement())
    prompt, response = encoder.encode_prompt(row), encoder.encode_response("A red cup.")
    rows = pad_view([prompt.token_ids], [response])
    with torch.no_grad():
        found = model.logits(model.hidden_states(rows, model.encode_images(prompt.images)))[0]
    before, behind = row.prompt.split("<image>")
    expected = parts.logits((before, behind), prompt.images[0]["pixel_values"], response)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.nightly(reason="each language model's log-probs are compared with those by hand in the fast tests")
@pytest.mark.parametrize("model_type", sorted(LANGUAGES.keys() - {"bunny-qwen"}))
def test_the_contract_holds_for_each_language_model(model_type: str, tmp_path: Path, photographs: Path) -> None:
    build_bunny(tmp_path / "bunny", model_type)
    row = example(photographs)
    text = replace(row, id="2", prompt="USER: Hello! ASSISTANT:", images=())
    check_adapter(bunny(tmp_path / "bunny", lora=LORA), [row, text])


WAYS: dict[str, dict[str, Any]] = {
    "lora": {"lora": LORA},
    "chat": {"lora": LORA, "prompts": "chat"},
    "all": {"freeze": ()},
}


@pytest.mark.parametrize(
    ("name", "way"),
    [
        *(pytest.param(name, way, marks=pytest.mark.long) for name, way in (("bunny", "lora"), ("llava", "chat"))),
        *(
            pytest.param(name, way, marks=pytest.mark.nightly(reason="as the other layout, or with LoRA"))
            for name, way in (("bunny", "chat"), ("bunny", "all"), ("llava", "lora"), ("llava", "all"))
        ),
    ],
)
def test_the_contract_of_adapters_holds(name: str, way: str, tmp_path: Path) -> None:
    case = all_cases(tmp_path)[name]
    row, other = case.example("0"), case.example("1")
    text = replace(other, id="text", images=(), prompt=str(other.prompt).replace("<image>\n", ""))
    check_adapter(case.make(**WAYS[way]), [row, other, text])


@pytest.mark.parametrize("pickled", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_conversion_keeps_half_precision_and_both_shard_kinds(
    pickled: bool, shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision, and the numbers in shards of either kind, are kept as they are."""
    from mdpo_vlm.originals import tensors

    monkeypatch.setattr(tensors.write_shards, "__defaults__", (50_000,))
    folder = copied(tmp_path / "bunny")
    weights = as_other_files(folder, pickled, shards, torch.float16)
    made = bunny(folder).folder()
    found = converted_weights(made)
    assert sorted(path.name for path in made.glob("*.safetensors"))[0].startswith("model-00001-of-0000")
    assert all(file.stat().st_size < 60_000 for file in made.glob("*.safetensors"))
    assert {value.dtype for value in found.values()} == {torch.float16}
    assert len(found) == len(weights)
    inside = "vision_tower.vision_model.post_layernorm.bias"
    names = {
        "lm_head.weight": "language_model.lm_head.weight",
        "model.mm_projector.2.bias": "multi_modal_projector.linear_2.bias",
        "model.layers.1.mlp.fc1.weight": "language_model.model.layers.1.mlp.fc1.weight",
        f"model.vision_tower.{inside}": inside,
    }
    for old, new in names.items():
        assert torch.equal(found[new][: len(weights[old])], weights[old])
    model = bunny(folder).load(Placement(dtype="float16"))
    assert model.module.get_parameter("lm_head.weight").dtype == torch.float16


def test_vocabulary_grows_by_a_zero_row_only_if_none_is_spare(tmp_path: Path) -> None:
    build_bunny(tmp_path / "full", "bunny-phi")
    build_bunny(tmp_path / "spare", "bunny-phi", spare=3)
    found = {name: converted_weights(bunny(tmp_path / name).folder()) for name in ("full", "spare")}
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        assert [len(found[each][name]) for each in ("full", "spare")] == [362, 364]
        assert not found["full"][name][-1].any()
        assert found["spare"][name].any(1).all()


def test_checkpoint_is_converted_once_and_again_if_it_changed(tmp_path: Path, cache: Path) -> None:
    folder = copied(tmp_path / "bunny")
    first = bunny(folder).folder()
    assert first.parent == cache
    assert first.name.startswith("bunny-")
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert bunny(folder, lora=LORA).folder() == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    changed_weights(folder, lambda weights: weights["lm_head.weight"].add_(1))
    second = bunny(folder).folder()
    assert second != first
    assert (
        converted_weights(second)["language_model.lm_head.weight"][0, 0]
        - converted_weights(first)["language_model.lm_head.weight"][0, 0]
    ) == pytest.approx(1)
    elsewhere = bunny(folder, converted=tmp_path / "elsewhere").folder()
    assert elsewhere.parent == tmp_path / "elsewhere"
    assert not [path for path in cache.iterdir() if path.name.startswith(".unfinished")]


def test_two_conversions_are_the_same_bytes(tmp_path: Path) -> None:
    folder = copied(tmp_path / "llava", "llava_original_tiny")
    one, other = (llava(folder, converted=tmp_path / name).folder() for name in ("one", "other"))
    files = sorted(file.name for file in one.iterdir())
    assert files == sorted(file.name for file in other.iterdir())
    assert len(files) == 7
    for name in files:
        assert (one / name).read_bytes() == (other / name).read_bytes()
        assert str(tmp_path).encode() not in (one / name).read_bytes()


@pytest.mark.long
def test_processes_that_convert_at_once_make_one_folder(tmp_path: Path, cache: Path) -> None:
    folder = copied(tmp_path / "bunny")
    program = (
        "import sys; from mdpo_core import component, Placement\n"
        f"a = component('adapter', 'bunny', path={str(folder)!r})\n"
        "a.load(Placement()); print(a.folder())"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert outputs == {str(bunny(folder).folder())}
    assert [path for path in cache.iterdir() if path.is_dir()] == [bunny(folder).folder()]


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdpo_vlm.originals import convert

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "save_processor", fail)
    with pytest.raises(KeyboardInterrupt):
        bunny(copied(tmp_path / "bunny")).folder()
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_a_recipe_may_name_the_tower_instead_of_the_checkpoint(tmp_path: Path) -> None:
    inside, other = copied(tmp_path / "inside"), copied(tmp_path / "tower", "bunny_tiny_split/siglip_vision_tower")
    changed_weights(other, lambda weights: weights["vision_model.post_layernorm.bias"].fill_(7))
    found = converted_weights(bunny(inside, vision_tower=str(other)).folder())
    assert (found["vision_tower.vision_model.post_layernorm.bias"] == 7).all()
    assert converted_weights(bunny(inside).folder()).keys() == found.keys()


def test_a_tower_is_found_from_the_working_directory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(tmp_path / "bunny", "bunny_tiny_split")
    (folder / "siglip_vision_tower").rename(tmp_path / "siglip_vision_tower")
    monkeypatch.chdir(tmp_path)
    assert len(converted_weights(bunny(folder).folder())) == 89


def test_sizes_of_a_tower_inside_follow_from_its_published_name(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bunny")
    (folder / "vision_config.json").unlink()
    changed_config(folder, mm_vision_tower="/models/siglip-so400m-patch14-384")
    with pytest.raises(DataError) as caught:
        bunny(folder).check()
    # The tiny weights are not of those sizes: 26 layers, of which the checkpoint has three.
    assert "model.vision_tower.vision_tower.vision_model.encoder.layers.10." in str(caught.value)
    assert "(24, 3, 14, 14) for (1152, 3, 14, 14)" in str(caught.value)
    assert "layers.26" not in str(caught.value)


@pytest.mark.long
def test_converting_and_loading_take_little_extra_memory(tmp_path: Path) -> None:
    """Converting and loading take little more memory than the checkpoint has."""
    sizes = {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 9, "vocab_size": 32000}
    build_bunny(tmp_path / "bunny", "bunny-llama", **sizes)
    as_other_files(tmp_path / "bunny", pickled=True, shards=2, dtype=torch.float16)
    size = sum(file.stat().st_size for file in (tmp_path / "bunny").glob("*.bin"))
    assert size > 150e6
    program = TESTS / "support/processes/loading_memory.py"
    peaks = {}
    for dtype in ("float16", "bfloat16"):
        words = [sys.executable, str(program), str(tmp_path / "bunny"), dtype]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks[dtype] = [int(peak) / size for peak in done.stdout.split()]
    assert 0.9 < peaks["float16"][1] <= 1.2  # all of it
    assert 0.9 < peaks["bfloat16"][0] <= 1.2  # of another type: without the mapped file beside it


# What comes out of it.


@pytest.mark.long
@pytest.mark.parametrize("name", ["bunny", "llava"])
def test_plain_transformers_and_peft_load_what_is_exported(name: str, tmp_path: Path) -> None:
    case = all_cases(tmp_path)[name]
    model = case.make(lora=LORA).load(Placement())
    torch.manual_seed(0)
    for parameter, value in model.module.named_parameters():
        if "lora_B" in parameter:
            value.data.normal_(std=0.2)
    prompt = case.chat.encode_prompt(case.example("1", (turn(case),)))
    expected = logits_of(model, prompt)
    made = model.generate([prompt], Decoding(8))[0]
    torch.save((expected, prompt.token_ids, made), tmp_path / "expected.pt")
    model.export(tmp_path / "adapter")
    model.export(tmp_path / "merged", merge=True)
    reload_plainly(tmp_path, case.numbers)
    # What is merged may be trained on: it goes on as the checkpoint did.
    again = component("adapter", name, path=str(tmp_path / "merged"))
    ready = case.example("multi")
    assert torch.equal(again.encoder().encode_prompt(ready).token_ids, case.encoder.encode_prompt(ready).token_ids)
    torch.testing.assert_close(logits_of(again.load(Placement()), prompt), expected, atol=1e-4, rtol=0)


def reload_plainly(folder: Path, numbers: Path) -> None:
    """In a process that imports no mdpo."""
    done = subprocess.run(
        [sys.executable, str(TESTS / "support/oracles/plain_reload.py"), str(folder), str(numbers)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr


def logits_of(model: Any, prompt: Any) -> torch.Tensor:
    rows = pad_view([prompt.token_ids], [prompt.token_ids[:0]])
    with torch.no_grad():
        found: torch.Tensor = model.logits(model.hidden_states(rows, model.encode_images(prompt.images)))
    return found[0]


def turn(case: Upstream) -> Any:
    from mdpo_core import Turn

    return Turn("user", f"<image>\n{case.item('1')['question']}")


def test_the_image_s_own_token_is_never_written(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bunny")
    # Every word is less likely than the row of zeros.
    changed_weights(folder, lambda weights: weights["model.final_layernorm.bias"].fill_(1))
    changed_weights(folder, lambda weights: weights["lm_head.weight"].fill_(-1))
    case = Upstream("bunny", folder, FOLDER / "bunny_tiny")
    made = case.model.generate([case.encoder.encode_prompt(case.example("0"))], Decoding(3))[0]
    assert 361 not in made.tolist()


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bunny-minicpm"}, "model_type is 'bunny-minicpm'; original checkpoints must have 'bunny-phi'"),
        ({"mm_projector_type": "ldp"}, "mm_projector_type is 'ldp'; it must be 'mlp2x_gelu'"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'; it must be 'pad'"),
        ({"use_s2": True}, "use_s2 is True; it must be False or None"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True; it must be False"),
        ({"mm_vision_tower": "nobody/nothing"}, "neither a folder nor a tower of known sizes (siglip-so400m"),
    ],
)
def test_a_bunny_that_is_not_covered_is_refused_by_key_and_value(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path / "bunny")
    (folder / "vision_config.json").unlink()
    changed_config(folder, **changes)
    with pytest.raises(DataError) as caught:
        bunny(folder).check()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["LlavaMistralForCausalLM"]}, "architectures is 'LlavaMistralForCausalLM'; original"),
        ({"architectures": None}, "architectures is 'None'; original checkpoints must have 'LlavaLlamaForCausalLM'"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'"),
        ({"image_aspect_ratio": None}, "image_aspect_ratio is None; it must be 'pad'"),
        ({"num_hidden_layers": 10**7}, "config.json: num_hidden_layers is 10000000; mdpo takes at most 1000"),
        ({"hidden_act": "nope"}, "the checkpoint cannot be converted (KeyError: 'nope')"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature is 'cls_patch'"),
        ({"mm_vision_tower": "openai/nothing"}, "mm_vision_tower is 'openai/nothing', the folder does not exist"),
    ],
)
def test_a_llava_that_is_not_covered_is_refused_by_key_and_value(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path / "llava", "llava_original_tiny")
    changed_config(folder, **changes)
    with pytest.raises(DataError) as caught:
        llava(folder).check()
    assert message in str(caught.value)


def test_all_that_is_not_covered_is_said_at_once(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bunny")
    changed_config(folder, use_s2=True, mm_projector_type="ldp")
    with pytest.raises(DataError) as caught:
        bunny(folder).check()
    assert len(caught.value.problems) == 2


def test_original_with_a_transformers_model_type_is_recognized(tmp_path: Path) -> None:
    """An original checkpoint that names a model type of transformers' own is told apart."""
    folder = copied(tmp_path / "llava", "llava_original_tiny")
    changed_config(folder, model_type="llava")
    llava(folder).check()


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: changed_weights(folder, lambda weights: weights.pop(name))


def besides(name: str) -> Callable[[Path], object]:
    return lambda folder: changed_weights(folder, lambda weights: weights.update({name: torch.ones(2)}))


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: changed_weights(folder, lambda weights: weights.update({name: weights[name][1:].clone()}))


def holding(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def with_a_tensor_twice(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = dict.fromkeys(weights, "a.safetensors") | {"model.norm.weight": "b.safetensors"}
    save_file(weights, folder / "a.safetensors")
    save_file({"lm_head.weight": weights["lm_head.weight"] * 2}, folder / "b.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def as_a_pickle_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Path("x")}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.layers.1.mlp.fc2.bias"), "1 missing tensors: model.layers.1.mlp.fc2.bias; the"),
        (without("model.mm_projector.0.weight"), "1 missing tensors: model.mm_projector.0.weight; the"),
        (
            without("model.vision_tower.vision_tower.vision_model.embeddings.patch_embedding.bias"),
            "1 missing tensors: model.vision_tower.vision_tower.vision_model.embeddings.patch_emb",
        ),
        (besides("model.layers.2.mlp.fc2.bias"), "1 unexpected tensors: model.layers.2.mlp.fc2.bias; the"),
        (besides("action_head.weight"), "1 unexpected tensors: action_head.weight; the"),
        (cut("lm_head.weight"), "1 mismatched tensors: lm_head.weight (360, 32) for (361, 32); the"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights: none of model.safetensors, "),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "safetensors: its weights cannot be"),
        (with_a_tensor_twice, "b.safetensors: contains lm_head.weight, which a.safetensors contains, too"),
        (as_a_pickle_with_code, "pytorch_model.bin: cannot be read as tensors alone"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: is missing; a model's folder needs it"),
        (lambda folder: [(folder / name).unlink() for name in ("tokenizer.json", "vocab.json")], "no tokenizer: none"),
        (holding("tokenizer.json", '{"a": 1}'), "tokenizer.json: contains no tokenizer; download it again"),
        (holding("tokenizer.json", '{"model": 1}'), "its tokenizer cannot be loaded ("),
        (holding("tokenizer_config.json", "["), "tokenizer_config.json: cannot be read: "),
        (holding("generation_config.json", "["), "generation_config.json: cannot be read: "),
        (holding("model.safetensors.index.json", "{}"), "weight_map must name the file of every tensor"),
        (holding("model.safetensors.index.json", '{"weight_map": ["a"]}'), "weight_map must name the file of every"),
    ],
)
def test_a_damaged_checkpoint_is_named_with_what_is_wrong(
    change: Callable[[Path], object], message: str, tmp_path: Path, cache: Path
) -> None:
    folder = copied(tmp_path / "bunny")
    change(folder)
    with pytest.raises(DataError) as caught:
        bunny(folder).check()
    assert message in str(caught.value)
    assert not cache.is_dir() or [path.name for path in cache.iterdir()] == [".lock"]


def test_buffers_and_heads_that_nothing_reads_are_left_behind(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bunny")
    inside = "model.vision_tower.vision_tower.vision_model"
    for name in (
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        f"{inside}.embeddings.position_ids",
        f"{inside}.head.probe",
        f"{inside}.encoder.layers.3.mlp.fc1.bias",
    ):
        besides(name)(folder)
    assert len(converted_weights(bunny(folder).folder())) == 89


def test_a_tower_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path / "bunny", "bunny_tiny_split")
    with pytest.raises(DataError, match="model_type is 'clip'; the vision tower of this model must be a siglip"):
        bunny(folder, vision_tower=str(FOLDER / "llava_original_tiny" / "clip_vision_tower")).check()


def test_a_tokenizer_of_sentencepiece_says_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdpo_vlm.originals import text

    monkeypatch.setattr(text, "find_spec", lambda _: None)
    with pytest.raises(
        RecipeError, match=r'tokenizer.model needs sentencepiece and protobuf: pip install "mdpo\[llava\]"'
    ):
        llava(copied(tmp_path / "llava", "llava_original_tiny")).check()


def test_a_place_that_cannot_hold_the_conversion_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/here: converted checkpoints cannot be written .*set model.conv"):
        bunny(copied(tmp_path / "bunny"), converted=tmp_path / "file" / "here").check()


def test_a_model_of_another_family_is_refused_by_either_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DataError, match="model_type is 'bert'; original checkpoints must have 'bunny-phi'"):
        bunny(tmp_path).check()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl", "text_config": {}}))
    with pytest.raises(DataError, match="model_type is 'qwen2_vl'; the bunny adapter takes 'llava'"):
        bunny(tmp_path).check()
