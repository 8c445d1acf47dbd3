"""Videos by the model's own video input, against plain transformers on small models."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mdpo_vlm.encoding.video_patches import VideoPatches
from mdpo_vlm.encoding.video_settings import VideoSettings
from mdpo_vlm.families import FAMILIES as ROWS
from mdpo_vlm.families import SECONDS_PER_PATCH
from mdpo_vlm.forward.videos import rope_inputs
from support.builders.small_vlms import NIGHTLY, SMALL, build_vlm
from support.oracles.plain_videos import FAMILIES, LIKE_QWEN3_VL, QUESTION, patches, plain_inputs, plain_log_probs
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from mdpo_core import IMAGE_MARK, DataError, Decoding, Example, Placement, RecipeError, Turn, View, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing import check_adapter
from mdpo_core.testing.strategies import noise

NATS, GRADIENT = 2e-5, 1e-4
RESPONSES = {"chosen": "A boat sinks slowly", "rejected": "It swims"}
VIEWS = (View("chosen"), View("rejected"))
CORRUPTIONS: dict[str, dict[str, Any]] = {
    "shuffle_frames": {},
    "reverse_frames": {},
    "drop_frames": {"share": 0.5},
    "other_video": {},
    "random_crop": {},
    "blank": {},
    "other_image": {"images": "first"},
    "no_image": {"images": "first"},
    "no_image all": {},
    "mismatched": {},
}


def row(name: str, *shown: int, size: tuple[int, int] = (60, 44), step: float = 0.5, start: float = 0.0) -> Example:
    """Pictures (0) and videos of so many frames, in order; frames are ``step`` seconds apart."""
    images: list[PIL.Image.Image] = []
    videos, times = [], []
    for count in shown:
        first = len(images)
        images += [noise(size if count else (50, 70), 1000 * int(name) + first + each) for each in range(count or 1)]
        if count:
            videos.append(range(first, len(images)))
            times.append(tuple(start + step * number for number in range(count)))
    prompt = IMAGE_MARK * len(images) + QUESTION
    return Example(name, prompt, RESPONSES, tuple(images), videos=tuple(videos), frame_times=tuple(times))


# The time between the frames of the second row takes its positions far beyond those of the text after it.
ROWS_OF_DATA = [
    row("1", 4),
    row("2", 0, 3, step=7.5),
    row("3", 2, 5, start=0.4, size=(44, 91)),
    row("4"),
    row("5", 0, 0),
    row("6", 4, 0, step=1 / 3),
]


# They differ from Qwen3-VL in their language models only.
NEWER = [pytest.param(name, marks=NIGHTLY) for name in LIKE_QWEN3_VL[1:]]


@pytest.fixture(scope="module", params=[*FAMILIES, *NEWER])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_clip_colours(build_vlm(family, tmp_path_factory.mktemp(family)))


def with_clip_colours(folder: Path) -> Path:
    """Video settings of their own, in the file for them."""
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def adapter(folder: Path, **options: Any) -> Any:
    return component("adapter", "chat_vlm", path=str(folder), **({"video": "own"} | options))


def scored(made: Any, data: list[Example], options: Scoring, views: Any = VIEWS, **corruptions: Any) -> tuple[Any, Any]:
    builder = BatchBuilder(made.encoder(), tuple(views), corruptions, (), 10**9, 0)
    model = made.load(Placement())
    scorer = Scorer(model, TermInputs(tuple(views)), options=options)
    return scorer(builder.build(data, range(len(data)), epoch=0)).policy, (builder, model)


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["padded", "packed"])
def test_log_probs_equal_one_forward_of_plain_transformers(options: Scoring, family: str, folder: Path) -> None:
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.no_grad():
        found, (builder, _) = scored(adapter(folder), ROWS_OF_DATA, options)
        picture = builder.encoder.processor.image_processor
        for number, example in enumerate(ROWS_OF_DATA):
            for view in VIEWS:
                wanted = plain_log_probs(plain, family, folder, example, RESPONSES[view.response], picture)
                one = found[view].values[number][found[view].mask[number]]
                torch.testing.assert_close(one, wanted, rtol=NATS, atol=NATS)


@pytest.mark.parametrize("options", [PLAIN, Scoring()], ids=["padded", "packed"])
def test_gradients_equal_those_of_plain_transformers(options: Scoring, family: str, folder: Path) -> None:
    data = [ROWS_OF_DATA[1], ROWS_OF_DATA[2]]
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    found, (builder, model) = scored(adapter(folder, freeze=()), data, options)
    torch.stack([(found[view].values * found[view].mask).sum() for view in VIEWS]).sum().backward()
    picture = builder.encoder.processor.image_processor
    wanted: list[Tensor] = [
        plain_log_probs(plain, family, folder, example, RESPONSES[view.response], picture).sum()
        for example in data
        for view in VIEWS
    ]
    torch.stack(wanted).sum().backward()
    by_name = dict(plain.named_parameters())
    compared = 0
    for name, parameter in model.module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, by_name[name].grad, rtol=GRADIENT, atol=GRADIENT, msg=name)
            compared += 1
    assert compared > 30


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_corrupted_videos_score_as_plain_transformers(name: str, folder: Path, family: str) -> None:
    corruption = component("corruption", name.partition(" ")[0], **CORRUPTIONS[name])
    data = [row("1", 4), row("6", 3, 0, size=(44, 60)), row("3", 0, 3)]
    views = (View("chosen"), View("chosen", "changed"))
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.no_grad():
        found, (builder, _) = scored(adapter(folder), data, Scoring(), views, changed=corruption)
        picture = builder.encoder.processor.image_processor
        for number, example in enumerate(data):
            changed = builder.corrupt(example, "changed", data, 0)
            wanted = plain_log_probs(plain, family, folder, changed, RESPONSES["chosen"], picture)
            one = found[views[1]].values[number][found[views[1]].mask[number]]
            torch.testing.assert_close(one, wanted, rtol=NATS, atol=NATS)
            assert float((found[views[0]].values[number] - found[views[1]].values[number]).abs().max()) > NATS


def test_token_ids_are_those_of_the_processor_with_image_tokens_for_videos(folder: Path, family: str) -> None:
    encoder = adapter(folder).encoder()
    tokenizer = encoder.processor.tokenizer
    image, video = (tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>") for kind in ("image", "video"))
    for example in ROWS_OF_DATA:
        inputs, length = plain_inputs(family, folder, example, "", encoder.processor.image_processor)
        ids = inputs["input_ids"][0, :length]
        assert encoder.encode_prompt(example).token_ids.equal(ids.masked_fill(ids == video, image))


@given(st.integers(2, 7), st.tuples(st.integers(20, 200), st.integers(20, 200)), st.integers(0, 1000))
def test_patches_are_those_of_the_formulas(count: int, size: tuple[int, int], seed: int) -> None:
    for family in FAMILIES:
        small = SMALL[family].image_options
        pixels = (small["size"]["shortest_edge"], small["size"]["longest_edge"])
        row_of_family = ROWS[family].video
        assert row_of_family is not None
        clip = ROWS["qwen2_vl"].video
        assert clip is not None
        settings = VideoSettings(
            pixels, row_of_family.limited, small["patch_size"], 2, 2, 3, 1 / 255, clip.mean, clip.std
        )
        made = VideoPatches(settings)
        frames = [noise(size, seed + number) for number in range(count)]
        wanted, grid = patches(family, frames)
        found = made([made.scaled(frames, size)], [{"total_num_frames": count}])
        assert found["video_grid_thw"].tolist() == [grid]
        torch.testing.assert_close(torch.as_tensor(found["pixel_values_videos"]), wanted, rtol=1e-5, atol=1e-5)


def test_generation_is_transformers_own(folder: Path, family: str) -> None:
    made = adapter(folder)
    encoder, model = made.encoder(), made.load(Placement())
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    answers = model.generate([encoder.encode_prompt(example) for example in ROWS_OF_DATA], Decoding(8))
    end = plain.generation_config.eos_token_id
    for example, answer in zip(ROWS_OF_DATA, answers, strict=True):
        inputs, length = plain_inputs(family, folder, example, "", encoder.processor.image_processor)
        ids = plain.generate(**inputs, max_new_tokens=8, do_sample=False)[0, length:].tolist()
        assert answer.tolist() == (ids[: ids.index(end)] if end in ids else ids)


@pytest.mark.parametrize(
    "family",
    [FAMILIES[1], *(pytest.param(name, marks=pytest.mark.long) for name in FAMILIES[::2]), *NEWER],
    indirect=True,
)
def test_the_contract_of_adapters_holds(folder: Path) -> None:
    def reload(exported: Path) -> nn.Module:
        from peft import PeftModel

        return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(folder), exported)

    check_adapter(adapter(folder, lora={"rank": 4, "alpha": 8, "dropout": 0.5}), ROWS_OF_DATA, reload)


def test_videos_without_their_times_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above has teeth: positions that ignore the seconds between frames are nats away."""
    folder = build_vlm("qwen2_5_vl", tmp_path)

    def without_seconds(*arguments: Any) -> dict[str, Tensor]:
        return {name: values for name, values in rope_inputs(*arguments).items() if name != SECONDS_PER_PATCH}

    with torch.no_grad():
        right, _ = scored(adapter(folder), [ROWS_OF_DATA[1]], Scoring())
        monkeypatch.setattr("mdpo_vlm.forward.positions.rope_inputs", without_seconds)
        wrong, _ = scored(adapter(folder), [ROWS_OF_DATA[1]], Scoring())
    assert float((right[VIEWS[0]].values - wrong[VIEWS[0]].values).abs().max()) > 100 * NATS


def test_frames_as_images_stay_as_they_were(folder: Path) -> None:
    own, frames = adapter(folder).encoder(), adapter(folder, video="frames").encoder()
    example = ROWS_OF_DATA[0]
    without = replace(example, videos=(), frame_times=())
    one, other = frames.encode_prompt(example), frames.encode_prompt(without)
    assert one.token_ids.equal(other.token_ids)
    assert len(one.images) == 4
    assert own.encode_prompt(without).token_ids.equal(one.token_ids)
    num_tokens = [int((each.token_ids == own.image_token).sum()) for each in (own.encode_prompt(example), one)]
    assert num_tokens[0] < num_tokens[1]


def test_a_ready_prompt_has_one_mark_for_a_video(folder: Path) -> None:
    chat, ready = adapter(folder).encoder(), adapter(folder, prompts="ready").encoder()
    mark = "<|vision_start|>{}<|vision_end|>"
    example = ROWS_OF_DATA[5]
    text = f"{mark.format(IMAGE_MARK * 4)}{mark.format(IMAGE_MARK)}{QUESTION}"
    asked = replace(example, prompt=f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")
    assert ready.encode_prompt(asked).token_ids.equal(chat.encode_prompt(example).token_ids)


def test_marks_of_frames_may_stand_below_one_another_and_in_later_turns(folder: Path) -> None:
    encoder = adapter(folder).encoder()
    example = ROWS_OF_DATA[0]
    below = replace(example, prompt=f"{IMAGE_MARK}\n" * 4 + QUESTION)
    assert encoder.encode_prompt(below).token_ids.equal(encoder.encode_prompt(example).token_ids)
    turns = (Turn("user", "Hello"), Turn("assistant", "Yes?"), Turn("user", example.prompt))  # type: ignore[arg-type]
    assert len(encoder.encode_prompt(replace(example, prompt=turns)).images) == 1


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            replace(ROWS_OF_DATA[0], prompt=f"{IMAGE_MARK * 2} and then {IMAGE_MARK * 2}{QUESTION}"),
            r"example '1': the prompt has text between the frames of the video 1, which enter as one: take it out",
        ),
        (
            replace(ROWS_OF_DATA[0], prompt=(Turn("user", IMAGE_MARK * 2), Turn("user", IMAGE_MARK * 2))),
            r"example '1': the prompt has text between the frames of the video 1",
        ),
        (
            row("7", 2, size=(900, 3)),
            r"example '7': the model's processor fails on 2 images .*aspect ratio",
        ),
    ],
    ids=["text", "turns", "thin"],
)
def test_frames_that_are_no_video_are_named(example: Example, message: str, tmp_path: Path) -> None:
    encoder = adapter(build_vlm("qwen2_vl", tmp_path)).encoder()
    with pytest.raises(DataError, match=message):
        encoder.encode_prompt(example)


def test_videos_without_times_are_refused_where_the_model_reads_them(folder: Path, family: str) -> None:
    example = replace(ROWS_OF_DATA[0], frame_times=())
    encoder = adapter(folder).encoder()
    if family == "qwen2_vl":
        assert encoder.encode_prompt(example).token_ids.equal(encoder.encode_prompt(ROWS_OF_DATA[0]).token_ids)
        return
    message = "example '1': the video 1 does not say when its frames are shown, .* set data.frame_rate to their rate"
    with pytest.raises(DataError, match=message):
        encoder.encode_prompt(example)


def test_a_video_of_one_frame_is_filled_where_transformers_fills_it(folder: Path, family: str) -> None:
    encoder, example = adapter(folder).encoder(), row("8", 1)
    if family in LIKE_QWEN3_VL:
        with pytest.raises(DataError, match="the video 1 has 1 frame, but this model takes at least 2"):
            encoder.encode_prompt(example)
        return
    [found] = encoder.encode_prompt(example).images
    wanted, grid = patches(family, example.images)
    assert found["video_grid_thw"].tolist() == [grid]
    torch.testing.assert_close(found["pixel_values_videos"], wanted, rtol=1e-5, atol=1e-5)


def test_frames_of_several_sizes_make_a_row_bad(folder: Path) -> None:
    example = ROWS_OF_DATA[0]
    mixed = replace(example, images=(example.images[0].resize((30, 30)), *example.images[1:]))
    message = r"the frames of the video 1 have different sizes \(30 x 30, 60 x 44 pixels\)"
    [found] = adapter(folder).encoder().problems_of_texts(mixed)
    assert re.search(message, found)
    assert adapter(folder, video="frames").encoder().problems_of_texts(mixed) == []


@pytest.mark.parametrize("family_without", ["llava", "llava_onevision", "internvl", "gemma3"])
def test_a_model_without_a_video_input_is_refused_before_weights_are_read(family_without: str, tmp_path: Path) -> None:
    made = adapter(build_vlm(family_without, tmp_path))
    message = f"model.video: own: mdpo knows no video input of models of type '{family_without}', only of qwen2_5_vl, "
    for call in (made.check, made.encoder):
        with pytest.raises(RecipeError, match=message):
            call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 7}, r"do the video processor's settings \(patch sizes\) fit the model"),
        ({"temporal_patch_size": 1}, r"do the video processor's settings \(patch sizes\) fit the model"),
        ({"merge_size": 0}, "merge_size of the video processor is 0"),
        ({"cap_pixels_per_frame": True}, "cap_pixels_per_frame of the video processor is not supported"),
        ({"size": {"shortest_edge": 9, "longest_edge": 3}}, "limits pixels to 9 and 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = with_clip_colours(build_vlm("qwen2_vl", tmp_path))
    file = folder / "video_preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(DataError, match=message):
        adapter(folder).encoder()
    adapter(folder, video="frames").encoder()


def test_settings_are_read_where_transformers_looks_for_them(tmp_path: Path) -> None:
    video = ROWS["qwen2_vl"].video
    assert video is not None
    with pytest.raises(DataError, match="has no settings of a video processor"):
        VideoSettings.of(tmp_path, video)
    (tmp_path / "preprocessor_config.json").write_text('{"min_pixels": 100, "max_pixels": 200}')
    assert VideoSettings.of(tmp_path, video).pixels == (100, 200)
    (tmp_path / "video_preprocessor_config.json").write_text('{"size": {"shortest_edge": 300, "longest_edge": 400}}')
    assert VideoSettings.of(tmp_path, video).pixels == (300, 400)
    (tmp_path / "processor_config.json").write_text('{"video_processor": {"patch_size": 16, "do_normalize": false}}')
    found = VideoSettings.of(tmp_path, video)
    assert (found.pixels, found.patch_size, found.mean) == (video.pixels, 16, None)
