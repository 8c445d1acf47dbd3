"""Phi-4 multimodal: its embedding puts pictures into the text, which it has cut into tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support.builders.small_vlms import build_vlm
from support.oracles.plain_vlms import NATS, VIEWS, adapter, gap, plain_log_probs
from torch import Tensor, nn
from transformers import AutoModelForMultimodalLM

from mdpo_core import IMAGE_MARK, DataError, Example, Placement, RecipeError
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer

PHI = "phi4_multimodal"
SIDE = 64  # of a tile
# One tile, two beside each other, two above each other, four.
SIZES = [(40, 30), (91, 62), (40, 77), (120, 100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_vlm(PHI, tmp_path_factory.mktemp(PHI))


@pytest.fixture(scope="module")
def photograph(photographs: Path) -> PIL.Image.Image:
    return PIL.Image.open(sorted(photographs.iterdir())[0]).convert("RGB")


def asked(*pictures: PIL.Image.Image, name: str = "1") -> Example:
    text = f"{IMAGE_MARK}\n" * len(pictures) + "What is in the picture?"
    return Example(name, text, {"chosen": "A Chinese temple", "rejected": "A flower"}, pictures)


def encoded(folder: Path, example: Example) -> list[dict[str, Tensor]]:
    return [dict(image) for image in adapter(PHI, folder).encoder().encode_prompt(example).images]


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["plain", "shared"])
def test_several_pictures_of_several_tiles_are_those_of_plain_transformers(
    options: Scoring, folder: Path, photograph: PIL.Image.Image
) -> None:
    pictures = [photograph.resize(size) for size in SIZES]
    rows = [asked(*pictures[:3]), asked(pictures[3], name="2"), asked(*reversed(pictures), name="3")]
    tiles = [image["image_pixel_values"].shape[1] - 1 for image in encoded(folder, rows[2])]
    assert tiles == [4, 2, 2, 1]
    assert gap(PHI, folder, rows, options) <= NATS


@pytest.mark.parametrize("size", [(SIDE, SIDE), (2 * SIDE, SIDE), (2 * SIDE, 2 * SIDE)])
def test_a_picture_that_fills_its_tiles_is_seen_in_both_directions(
    size: tuple[int, int], folder: Path, photograph: PIL.Image.Image
) -> None:
    """As transformers computes it with its plainest attention; with SDPA's, a patch would not see those after it."""
    row = asked(photograph.resize(size))
    [image] = encoded(folder, row)
    assert bool(image["image_attention_mask"].all())
    plain = AutoModelForMultimodalLM.from_pretrained(folder, attn_implementation={"vision_config": "eager"}).eval()
    made = adapter(PHI, folder)
    batch = BatchBuilder(made.encoder(), VIEWS, {}, (), 10**9, 0).build([row], [0], epoch=0)
    with torch.no_grad():
        found = Scorer(made.load(Placement()), TermInputs(tuple(VIEWS)), options=Scoring())(batch).policy
        for view in VIEWS:
            expected = plain_log_probs(plain, PHI, folder, row, view)
            torch.testing.assert_close(found[view].values[0][found[view].mask[0]], expected, atol=NATS, rtol=NATS)


def test_features_do_not_depend_on_the_pictures_beside(folder: Path, photograph: PIL.Image.Image) -> None:
    images = encoded(folder, asked(*(photograph.resize(size) for size in [*SIZES, (SIDE, SIDE)])))
    model = adapter(PHI, folder).load(Placement())
    with torch.no_grad():
        together = model.encode_images(images)
        for image, beside in zip(images, together, strict=True):
            [alone] = model.encode_images([image])
            torch.testing.assert_close(alone.features, beside.features, atol=1e-4, rtol=1e-5)


def test_encoder_and_projector_are_called_once_for_all_pictures(folder: Path, photograph: PIL.Image.Image) -> None:
    """Processes that split weights make the same calls, however many pictures they have."""
    images = encoded(folder, asked(*(photograph.resize(size) for size in SIZES)))
    model, seen = adapter(PHI, folder).load(Placement()), list[tuple[int, ...]]()
    inside: Any = model.module.model.embed_tokens_extend.image_embed
    for module in (inside.img_processor.embeddings.patch_embedding, inside.img_projection_up):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    with torch.no_grad():
        found = model.encode_images(images)
    whole_and_tiles = sum(image["image_pixel_values"].shape[1] for image in images)
    assert [shape[0] for shape in seen] == [whole_and_tiles, sum(len(each.features) for each in found)]


def test_no_gradient_reaches_sound_and_layers_above_the_features(folder: Path) -> None:
    model = adapter(PHI, folder, freeze=()).load(Placement())
    idle = [name for name, value in model.module.named_parameters() if not value.requires_grad]
    inside = "model.embed_tokens_extend."
    assert any(name.startswith(f"{inside}audio_embed.encoder.") for name in idle)
    of_images = {name.removeprefix(f"{inside}image_embed.img_processor.") for name in idle if "audio" not in name}
    assert {name.split(".")[0] for name in of_images} == {"encoder", "post_layernorm", "head"}
    assert {name.split(".")[2] for name in of_images if name.startswith("encoder")} == {"2"}


def test_an_exported_model_has_the_files_of_a_published_one(
    folder: Path, tmp_path: Path, photograph: PIL.Image.Image
) -> None:
    made = adapter(PHI, folder, freeze=())
    made.load(Placement()).export(tmp_path)
    before, after = ((each / "config.json").read_text() for each in (folder, tmp_path))
    assert json.loads(after).keys() == json.loads(before).keys()
    assert "mdpo" not in after
    encoder, model = made.load_exported(tmp_path, Placement())
    row = asked(photograph.resize((91, 62)))
    batch = BatchBuilder(encoder, VIEWS, {}, (), 10**9, 0).build([row], [0], epoch=0)
    plain = AutoModelForMultimodalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = Scorer(model, TermInputs(tuple(VIEWS)), options=PLAIN)(batch).policy[VIEWS[0]]
        expected = plain_log_probs(plain, PHI, folder, row, VIEWS[0])
    torch.testing.assert_close(found.values[0][found.mask[0]], expected, atol=NATS, rtol=NATS)


def test_the_vision_lora_beside_a_published_model_is_merged_into_it(folder: Path, tmp_path: Path) -> None:
    """It names its layers by one pattern, and its model by no path that exists."""
    torch.manual_seed(1)
    pattern = r"model\.layers\.\d+\.((self_attn\.(qkv|o)_proj)|(mlp\.(gate_up|down)_proj))"
    tuned: Any = get_peft_model(
        AutoModelForMultimodalLM.from_pretrained(folder), LoraConfig(r=4, lora_alpha=8, target_modules=pattern)
    )
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    tuned.save_pretrained(tmp_path / "vision-lora")
    file = tmp_path / "vision-lora" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "TBA"}))
    made = adapter(PHI, tmp_path / "vision-lora", base=str(folder), lora={"rank": 2, "alpha": 4})
    made.check()
    merged: nn.Module = PeftModel.from_pretrained(
        AutoModelForMultimodalLM.from_pretrained(folder), tmp_path / "vision-lora"
    ).merge_and_unload()
    expected = merged.state_dict()
    for name, value in made.load(Placement(), trainable=False).module.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)


def changed_config(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file) if file.name != "config.json" else None
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    return tmp_path


def test_the_image_token_of_the_vision_encoder_must_be_the_tokenizers(folder: Path, tmp_path: Path) -> None:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    other = changed_config(folder, tmp_path, vision_config=vision | {"image_token_id": 3})
    with pytest.raises(DataError, match=r"the image token is \d+ in the tokenizer and 3 in config.json"):
        adapter(PHI, other).encoder()


def test_an_image_token_that_is_no_row_of_the_embedding_is_named(folder: Path, tmp_path: Path) -> None:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    other = changed_config(folder, tmp_path, vision_config=vision | {"image_token_id": 10**5})
    with pytest.raises(DataError, match="the image token is 100000, but the embedding has"):
        adapter(PHI, other).encoder()


def test_published_positions_limit_the_length_of_rows(folder: Path, tmp_path: Path) -> None:
    """One longer row would change the positions of its whole batch."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope = {"type": "longrope", "rope_type": "longrope", **factors}
    changes = {"rope_parameters": None, "rope_scaling": rope, "original_max_position_embeddings": 1024}
    other = changed_config(folder, tmp_path, **changes)
    adapter(PHI, other, max_length=1024).check()
    with pytest.raises(RecipeError, match=r"model.max_length: is 1025.*; set it to 1024 or less"):
        adapter(PHI, other, max_length=1025).check()


def test_a_processor_that_cuts_other_tiles_than_the_model_is_named(folder: Path, tmp_path: Path) -> None:
    other = changed_config(folder, tmp_path)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").unlink()
    text = json.dumps(settings | {"size": {"height": 32, "width": 32}})
    (other / "preprocessor_config.json").write_text(text)
    found = "tiles whose sides have 32 pixels and 16 patches, and the model's have 64 pixels and 32 patches"
    with pytest.raises(DataError, match=found):
        adapter(PHI, other).encoder()
    with pytest.raises(DataError, match=found):
        adapter(PHI, folder).load_exported(other, Placement())
