"""Molmo 2: features pool numbered patches of crops, and all tokens around images attend in both directions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import PIL.ImageOps
import pytest
import torch
from mdpo_vlm.encoding.processors import load_processor, numbers_of
from mdpo_vlm.families import FAMILIES
from mdpo_vlm.forward.ways_in import pooled_patches
from safetensors.torch import load_file, save_file
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import NATS, adapter, examples, gap

from mdpo_core import IMAGE_MARK, DataError, Example, Placement
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN

MODEL = FAMILIES["molmo2"]
PUBLISHED_NAMES = {
    "image_size": "image_default_input_size",
    "patch_size": "image_patch_size",
    "num_position_embeddings": "image_num_pos",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm("molmo2", tmp_path_factory.mktemp("molmo2"))


def rows_of_crops(photographs: Path) -> list[Example]:
    """Pictures of several crops: one, one, none, two, three in a row."""
    data = examples("molmo2", photographs)
    picture = data[0].images[0]
    images = tuple(picture.resize(size) for size in [(26, 84), (20, 20), (91, 62)])
    text = f"{IMAGE_MARK}\n" * 3 + "What is in the picture?"
    return [*data, replace(data[0], id="three", prompt=text, images=images)]


def test_pictures_have_several_crops_and_rows_several_pictures_or_none(folder: Path, photographs: Path) -> None:
    """What is tried below. Some windows of patches are not full."""
    encoder, data = adapter("molmo2", folder).encoder(), rows_of_crops(photographs)
    images = [encoder.encode_prompt(each).images for each in data]
    assert [[len(image["pixel_values"]) for image in row] for row in images] == [[5], [4], [], [5, 5], [5, 2, 5]]
    assert any(bool((image["image_token_pooling"] < 0).any()) for row in images for image in row)


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "as in a run"])
def test_values_are_those_of_a_plain_forward(options: Scoring, folder: Path, photographs: Path) -> None:
    data = rows_of_crops(photographs)
    inverted = [replace(each, images=tuple(map(PIL.ImageOps.invert, each.images))) for each in data]
    without = [each for each in data if not each.images]
    for rows in (data, data[::-1], inverted, without):
        assert gap("molmo2", folder, rows, options) <= NATS


def test_marked_tokens_are_those_of_the_processor(folder: Path) -> None:
    processor, config = load_processor(folder, folder)
    assert {*numbers_of(MODEL.around, folder), config.image_token_id} == set(processor.image_token_ids)


def test_marks_of_image_tokens_alone_would_be_noticed(
    folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why a model is told of the tokens around images."""
    monkeypatch.setattr("mdpo_vlm.loading.load.numbers_of", lambda tokens, folder: [-1])
    assert gap("molmo2", folder, rows_of_crops(photographs), PLAIN) > 100 * NATS


def test_patches_of_several_images_that_keep_their_numbers_would_be_noticed(
    folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled_patches, "_shifted", lambda numbers, start: numbers)
    assert gap("molmo2", folder, rows_of_crops(photographs), PLAIN) > 10 * NATS


def test_a_claim_that_prompts_can_be_shared_would_be_noticed(
    folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not adapter("molmo2", folder).shares_prefix
    monkeypatch.setitem(FAMILIES, "molmo2", replace(MODEL, separate=""))  # type: ignore[arg-type]
    assert gap("molmo2", folder, rows_of_crops(photographs), Scoring()) > 100 * NATS


def test_layers_above_the_features_do_not_train(folder: Path) -> None:
    model = adapter("molmo2", folder, freeze=()).load(Placement())
    idle = [name for name, value in model.module.named_parameters() if not value.requires_grad]
    assert idle
    assert all(name.startswith("model.vision_tower.layers.2.") for name in idle)


def test_a_response_with_a_token_that_the_model_does_not_write_is_refused(folder: Path) -> None:
    """The head lacks the tokens around images, which the embedding has."""
    encoder = adapter("molmo2", folder, special_tokens=("<im_col>",)).encoder()
    with pytest.raises(DataError, match=r"a response contains '<im_col>'.*the model reads.*never writes"):
        encoder.encode_response("A <im_col> flower")


def test_patches_of_another_size_are_refused_before_weights_are_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    file = tmp_path / "model" / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "patch_size": 4}))
    with pytest.raises(DataError, match=r"patches of 49 x 48 values for 16 x 147.*do the processor's settings"):
        adapter("molmo2", tmp_path / "model").encoder()


def test_the_layout_of_the_published_files_gives_the_same_numbers(
    folder: Path, tmp_path: Path, photographs: Path
) -> None:
    """Its configuration has other names, and a layer more than the files; rows of added tokens are apart."""
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    config = json.loads((model / "config.json").read_text())
    vision, pooled = config.pop("vision_config"), config["adapter_config"]
    for old, new in PUBLISHED_NAMES.items():
        vision[new] = vision.pop(old)
    pooled["vit_layers"] = pooled.pop("vision_feature_layer")
    (model / "config.json").write_text(json.dumps({**config, "vit_config": vision}))
    weights = load_file(model / "model.safetensors")
    first, second = "model.transformer.wte.embedding", "model.transformer.wte.new_embedding"
    rows = torch.cat([weights[first], weights[second]])
    added = config["text_config"]["additional_vocab_size"]
    weights |= {first: rows[:-added].clone(), second: rows[-added:].clone()}
    kept = {name: values for name, values in weights.items() if ".resblocks.2." not in name}
    assert len(kept) < len(weights)
    save_file(kept, model / "model.safetensors", {"format": "pt"})
    made = adapter("molmo2", model, freeze=()).load(Placement())
    assert all(value.requires_grad for value in made.module.parameters())
    assert gap("molmo2", model, rows_of_crops(photographs), PLAIN) <= NATS
    made.export(tmp_path / "exported")
    assert gap("molmo2", tmp_path / "exported", rows_of_crops(photographs), PLAIN) <= NATS
