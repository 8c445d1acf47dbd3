"""Model folders whose files contradict each other, or hide others: refused by name, or loaded as they were digested."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mdpo_vlm.files.folder import find_folder
from safetensors.torch import load_file, save_file
from support.builders.llava_adapter import adapter, example, logits

from mdpo_core import DataError, Example, Placement

Change = Callable[[Path], object]
INDEX = "model.safetensors.index.json"


def copied(llava: Path, folder: Path, change: Change) -> Path:
    shutil.copytree(llava, folder)
    change(folder)
    return folder


def refusal(folder: Path, prompts: str = "ready") -> str:
    """The error of a folder, before its weights are read."""
    with pytest.raises(DataError) as caught:
        check(folder, prompts)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def check(folder: Path, prompts: str) -> None:
    made = adapter(folder, prompts=prompts)
    made.check()
    made.encoder()


def loaded_logits(folder: Path, photographs: Path) -> torch.Tensor:
    made = adapter(folder)
    made.check()
    prompt = made.encoder().encode_prompt(example(photographs))
    return logits(made.load(Placement()), prompt)


def split(folder: Path) -> None:
    """The weights in two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        part = {name: tensors[name] for name in tensors if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    write_index(folder, places)


def write_index(folder: Path, places: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def change_index(change: Callable[[dict[str, str]], dict[str, str]]) -> Change:
    def changed(folder: Path) -> None:
        split(folder)
        write_index(folder, change(json.loads((folder / INDEX).read_text())["weight_map"]))

    return changed


def shards_beside_another_model(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    split(folder)
    (folder / "model.safetensors").write_bytes(whole)


def with_the_same_tensor_twice(folder: Path) -> None:
    split(folder)
    first = next(iter(load_file(folder / "0.safetensors")))
    second = load_file(folder / "1.safetensors")
    save_file({**second, first: load_file(folder / "0.safetensors")[first]}, folder / "1.safetensors")


def as_pipe(name: str) -> Change:
    def changed(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shards_beside_another_model, f"contains model.safetensors and {INDEX}, which names other files; remove one"),
        (
            change_index(lambda map_: dict.fromkeys(map_, "../0.safetensors")),
            "names '../0.safetensors', which is not a",
        ),
        (
            change_index(lambda map_: dict.fromkeys(map_, "/a/0.safetensors")),
            "names '/a/0.safetensors', which is n",
        ),
        (change_index(lambda map_: dict.fromkeys(map_, "x" * 5000)), "which is not a file of this folder; shards must"),
        (change_index(lambda map_: dict.fromkeys(map_, "0.bin")), "names '0.bin', which is not a .safetensors file"),
        (change_index(lambda map_: {**map_, "a.weight": "0.safetensors"}), "a.weight: none of its files contains it"),
        (change_index(lambda map_: dict(list(map_.items())[1:])), "but the index does not list it"),
        (with_the_same_tensor_twice, "which 0.safetensors contains, too"),
        (as_pipe("config.json"), "config.json: is not a file, or a link to nothing"),
        (as_pipe("model.safetensors"), "model.safetensors: is not a file, or a link to nothing"),
    ],
)
def test_weights_that_programs_load_differently_are_refused(
    change: Change, message: str, llava: Path, tmp_path: Path
) -> None:
    assert message in refusal(copied(llava, tmp_path / "model", change))


def test_shards_give_the_model_that_one_file_gives(llava: Path, photographs: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "model", split)
    assert torch.equal(loaded_logits(folder, photographs), loaded_logits(llava, photographs))
    assert {file.name for file in adapter(folder).files()} >= {"0.safetensors", "1.safetensors", INDEX}


def changed_json(name: str, *path: str, **values: object) -> Change:
    def changed(folder: Path) -> None:
        file = folder / name
        content = json.loads(file.read_text())
        part = content
        for key in path:
            part = part[key]
        part |= values
        file.write_text(json.dumps(content))

    return changed


def config(*path: str, **values: object) -> Change:
    return changed_json("config.json", *path, **values)


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def changed(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


EMBEDDING = "language_model.model.embed_tokens.weight"
REPEATED = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
DEEP = "brackets in it are nested too deeply"
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 2.0,
    "original_max_position_embeddings": 8,
    "short_factor": [1.0],
    "long_factor": [1.0],
}
HUB_ATTENTION = "kernels-community/flash-attn"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (config(quantization_config={"quant_method": "gptq"}), "config.json: quantization_config: the weights are"),
        (config("text_config", attn_implementation=HUB_ATTENTION), "text_config.attn_implementation is 'kernels"),
        (
            config("text_config", hidden_act="nope"),
            "config.json: transformers cannot build its model (KeyError: 'nope'",
        ),
        (config("text_config", hidden_size="64"), "config.json: transformers cannot read it (StrictDataclassFieldVali"),
        (config("text_config", num_hidden_layers=10**7), "text_config.num_hidden_layers is 10000000; mdpo takes at m"),
        (config(num_labels=10**8), "config.json: num_labels is 100000000; mdpo takes at most 100000"),
        (config("text_config", vocab_size=10**12), "text_config.vocab_size is 1000000000000; mdpo takes at most"),
        (config("text_config", vocab_size=500), "has the shape (381, 32), and (500, 32) by vocab_size and hidden_size"),
        (config("text_config", num_hidden_layers=900), "weights, but the files contain"),
        (
            config(image_token_id=10**6, image_token_index=10**6),
            "the image token is 1000000, but the embedding has 381",
        ),
        (config("text_config", pad_token_id=10**6), "pad_token_id is 1000000, but the embedding has 381 rows"),
        (config("text_config", max_position_embeddings=4), "max_position_embeddings is 4, but a question about"),
        (config("vision_config", patch_size=0), "config.json: transformers cannot build its model ("),
        (config("vision_config", image_size=56), "4 image tokens for 16 image features, and images of 28 x 28 pixels"),
        (changed_json("processor_config.json", patch_size=7), "16 image tokens for 4 image features"),
        (changed_json("processor_config.json", num_additional_image_tokens=10**9), "give a number from 0 to 16384"),
        (
            changed_json("processor_config.json", "image_processor", crop_size={"height": 0, "width": 0}),
            "crop_size.height of its image processor is 0",
        ),
        (
            changed_json("processor_config.json", "image_processor", image_mean=[0.5]),
            "mean must have 3 elements",
        ),
        (
            changed_json("processor_config.json", "image_processor", image_std=[0, 0, 0]),
            "the model's processor fails on the image of 96 x 128 pixels",
        ),
        (
            changed_json("processor_config.json", "image_processor", do_center_crop=False),
            "and images of 37 x 28 pixels for 28 x 28 pixels",
        ),
        (changed_json("tokenizer_config.json", eos_token=None), "tokenizer_config.json: eos_token is missing"),
        (changed_json("tokenizer_config.json", eos_token=""), "tokenizer_config.json: eos_token is missing"),
        (changed_json("tokenizer_config.json", eos_token="<other>"), "the token '<other>' has the id 381, but the"),
        (
            changed_json("tokenizer.json", normalizer={"type": "Sequence", "normalizers": [REPEATED] * 12}),
            "tokenizer.json: its normalizer makes 1000000000000 letters of one",
        ),
        (
            changed_json("tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": None}),
            "its processor cannot be loaded (PanicException: Precompiled",
        ),
        (changed_json("tokenizer.json", "model", dropout=0.5), "tokenizer.json: model.dropout makes other tokens of"),
        (changed_json("processor_config.json", "image_processor", resample="x"), "resample of its image processor is"),
        (changed_json("processor_config.json", "image_processor", rescale_factor=[0.5]), "rescale_factor of its image"),
        (changed_json("processor_config.json", "image_processor", do_rescale=[]), "[]; it must be true or false"),
        (config("text_config", rope_parameters=LONG), "config.json: short_factor has 1 numbers for 8 frequencies"),
        (changed_json("generation_config.json", num_beams=0), "generation_config.json: num_beams is 0; it must be"),
        (changed_json("generation_config.json", repetition_penalty="x"), "repetition_penalty is 'x'; it must be"),
        (
            changed_json("generation_config.json", stop_strings=["."]),
            "generation_config.json: stop_strings end answers",
        ),
        (changed_json("generation_config.json", begin_suppress_tokens=3), "begin_suppress_tokens is 3; it must be a"),
        (changed_json("generation_config.json", bos_token_id="x"), "bos_token_id is 'x', but the embedding has 381"),
        (changed_json("generation_config.json", eos_token_id="x"), "generation_config.json: eos_token_id is 'x'"),
        (
            tensors(lambda all_: all_.update({EMBEDDING: all_[EMBEDDING].bool()})),
            "embed_tokens.weight has the type BOOL; weights have one of F64, F32, F16, BF16",
        ),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(change: Change, message: str, llava: Path, tmp_path: Path) -> None:
    assert message in refusal(copied(llava, tmp_path / "model", change))


@pytest.mark.parametrize("levels", [300, 2000, 100_000])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "processor_config.json"])
def test_brackets_nested_deeply_are_one_error(name: str, levels: int, llava: Path, tmp_path: Path) -> None:
    def nested(folder: Path) -> None:
        text = (folder / name).read_text().rstrip().removesuffix("}")
        (folder / name).write_text(text + ', "deep": ' + '{"a":' * levels + "1" + "}" * (levels + 1))

    folder = copied(llava, tmp_path / "model", nested)
    assert refusal(folder) == f"{folder / name}: cannot be read: {DEEP}; download it again"


SCALED = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
YARN = {**SCALED, "rope_type": "yarn", "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("text_config", "positions"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"max_position_embeddings": 64, "rope_parameters": None, "rope_scaling": SCALED}, 256),
        ({"max_position_embeddings": 64, "rope_parameters": YARN}, 256),
        ({"max_position_embeddings": 256, "rope_parameters": YARN}, 256),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 64),
    ],
)
def test_the_longest_sequence_is_as_config_json_says(
    text_config: dict[str, object], positions: int, llava: Path, tmp_path: Path
) -> None:
    folder = copied(llava, tmp_path / "model", config("text_config", **text_config))
    assert adapter(folder).max_positions == positions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "(TimeLimitError: it computes",
        ),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "(RecursionError: "),
        ("{{ 'a' * 10**14 }}", "(MemoryError:"),
        ("{% for a in range(99999) %}{{ 'twenty letters or so' }}{% endfor %}", "letters of a conversation of"),
        ("\ufeff", "its chat template begins with a byte-order mark"),
    ],
)
def test_a_template_that_is_no_sound_program_is_refused(
    text: str, message: str, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdpo_vlm.encoding import template

    monkeypatch.setattr(template, "_SECONDS", 0.3)

    def longer(folder: Path) -> None:
        file = folder / "chat_template.jinja"
        file.write_text(text + file.read_text())

    assert message in refusal(copied(llava, tmp_path / "model", longer), prompts="chat")


def test_a_pattern_without_an_end_in_a_tokenizer_is_a_bad_row(llava: Path, tmp_path: Path) -> None:
    endless = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    folder = copied(llava, tmp_path / "model", changed_json("tokenizer.json", normalizer=endless))
    encoder = adapter(folder).encoder()
    text = "a" * 3000 + "!"
    with pytest.raises(DataError, match=r"example 'long': the model's processor fails .*PanicException: Onig: Regex"):
        encoder.encode_prompt(Example("long", text, {}, ()))
    with pytest.raises(DataError, match=r"the model's tokenizer fails on it: PanicException: Onig: Regex"):
        encoder.encode_response(text)


def test_a_model_in_a_folder_called_snapshots_keeps_its_path(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's cache has folders of that name, too; a model there is named as on the hub."""
    copied(llava, tmp_path / "snapshots" / "model", lambda _: None)
    monkeypatch.chdir(tmp_path)
    made = adapter(Path("snapshots/model"), lora={"rank": 2, "alpha": 4})
    made.load(Placement()).export(tmp_path / "final")
    found = json.loads((tmp_path / "final" / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(tmp_path / "snapshots" / "model")
    made.check_exported(tmp_path / "final")


def test_weights_that_are_not_numbers_are_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "model", tensors(lambda all_: all_[EMBEDDING][300].fill_(float("nan"))))
    with pytest.raises(DataError, match=r"embed_tokens\.weight contains numbers that are infinite or NaN"):
        adapter(folder).load(Placement())


def test_a_head_beside_a_tied_embedding_is_refused(llava: Path, tmp_path: Path) -> None:
    folder = copied(llava, tmp_path / "model", config(tie_word_embeddings=True))
    with pytest.raises(DataError, match="the weights contain a head that is not the embedding"):
        adapter(folder).load(Placement())


@pytest.mark.parametrize("left", [{}, {"patch_size": 14, "vision_feature_select_strategy": "default"}])
def test_an_old_processor_takes_its_numbers_from_config_json(
    left: dict[str, object], llava: Path, photographs: Path, tmp_path: Path
) -> None:
    def apart(folder: Path) -> None:
        """The layout before transformers 4.48, which did not count the class token."""
        file = folder / "processor_config.json"
        images = json.loads(file.read_text())["image_processor"]
        (folder / "preprocessor_config.json").write_text(json.dumps({**images, "processor_class": "LlavaProcessor"}))
        file.write_text(json.dumps({"processor_class": "LlavaProcessor", **left}))

    folder = copied(llava, tmp_path / "model", apart)
    assert torch.equal(loaded_logits(folder, photographs), loaded_logits(llava, photographs))


def test_a_hub_that_is_not_reached_is_not_said_to_lack_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        DataError, match=r"^someone/model-x: the folder does not exist, and the hub could not be reached \("
    ):
        find_folder("someone/model-x")
