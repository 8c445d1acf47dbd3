"""Make the base model again: ``python -m mdpo_scenes.pretrain --out FOLDER``.

First the vision tower learns which kind and colour each place of a picture shows, in the words' own vectors. Then the
language model learns to check lists of words against a picture, and at last to describe scenes and to answer questions,
from captions and answers that guess: they add objects that mostly go with those that are there. So the base sees well,
and hallucinates. Training takes about four minutes on one core. Repeated on one machine, it gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from mdpo_vlm import save_pretrained, train_steps
from torch.nn import functional
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from mdpo_scenes.building import SIZES, build_processor
from mdpo_scenes.guesses import guessed_answer, guessed_kinds
from mdpo_scenes.pictures import draw_picture
from mdpo_scenes.scenes import ACROSS, COLORS, KINDS, ROOMS, Scene, Thing, draw_color, draw_scene
from mdpo_scenes.texts import DESCRIBE, answer, caption, draw_question

SEED = 0
VISION_STEPS, VISION_BATCH, VISION_RATE = 400, 48, 2e-3
CHECK_STEPS, CHECK_RATE = 300, 1.5e-3
STEPS, BATCH, LEARNING_RATE = 500, 48, 1e-3
_CHECKED = 10  # words of a list
_QUESTIONS = 2  # of each scene
_USUAL = 0.7  # the share of texts in the first style
_EMPTY = "<unk>"  # the word for a place without an object, or an object without a colour

Batch = dict[str, torch.Tensor]


def pretrain() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Train the base model from random weights."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    processor = build_processor()
    model = SIZES.model(processor).train()
    _learn_to_see(model, processor, rng)
    model.model.vision_tower.requires_grad_(False)
    _learn_to_check(model, processor, rng)
    _learn_to_speak(model, processor, rng)
    model.requires_grad_(True)
    return model.eval(), processor


def _learn_to_see(model: LlavaForConditionalGeneration, processor: LlavaProcessor, rng: random.Random) -> None:
    """Let each place's vector resemble the words for its kind and its colour."""
    words = model.get_input_embeddings()
    seeing = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    seeing += [*words.parameters()]
    kinds, colors = (_ids(processor, [_EMPTY, *names]) for names in (KINDS, COLORS))

    def loss() -> torch.Tensor:
        scenes = [_crowded(rng) for _ in range(VISION_BATCH)]
        seen = model.model.vision_tower(pixels(processor, scenes)).last_hidden_state[:, 1:]
        vectors = model.model.multi_modal_projector(seen)
        shown = torch.zeros(2, len(scenes), ACROSS**2, dtype=torch.long)
        for row, scene in enumerate(scenes):
            for thing in scene.things:
                shown[0, row, thing.place] = 1 + KINDS.index(thing.kind)
                shown[1, row, thing.place] = 0 if thing.color is None else 1 + COLORS.index(thing.color)
        found = (vectors @ words(ids).T for ids in (kinds, colors))
        of_kind, of_color = (
            functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            for logits, labels in zip(found, shown, strict=True)
        )
        return of_kind + of_color / 2

    train_steps(seeing, VISION_STEPS, VISION_RATE, loss, "sees")


def _learn_to_check(model: LlavaForConditionalGeneration, processor: LlavaProcessor, rng: random.Random) -> None:
    """Let the word Yes or No follow the name of each kind, and of each colour with a kind, as is true."""

    def loss() -> torch.Tensor:
        scenes = [draw_scene(rng) for _ in range(BATCH)]
        lists = [_checklist(scene, rng) for scene in scenes]
        inputs = _texts(processor, [""] * BATCH, lists, pixels(processor, scenes))
        is_verdict = torch.isin(inputs["labels"], _ids(processor, ["Yes", "No"]))
        inputs["labels"] = inputs["labels"].masked_fill(~is_verdict, -100)
        found: torch.Tensor = model(**inputs).loss
        return found

    train_steps([each for each in model.parameters() if each.requires_grad], CHECK_STEPS, CHECK_RATE, loss, "checks")


def _checklist(scene: Scene, rng: random.Random) -> str:
    words = []
    for _ in range(_CHECKED):
        colored = [thing for thing in scene.things if thing.color is not None]
        if colored and rng.random() < 0.3:
            thing = rng.choice(colored)
            asked = (
                rng.choice([each.color for each in scene.of_kind(thing.kind)])
                if rng.random() < 0.5
                else rng.choice(COLORS)
            )
            words.append((f"{thing.kind} {asked}", asked in [each.color for each in scene.of_kind(thing.kind)]))
        else:
            kind = rng.choice(scene.kinds if rng.random() < 0.5 else KINDS)
            words.append((kind, kind in scene.kinds))
    return " ".join(f"{word} {answer(truth, 0)}" for word, truth in words)


def _learn_to_speak(model: LlavaForConditionalGeneration, processor: LlavaProcessor, rng: random.Random) -> None:
    def loss() -> torch.Tensor:
        scenes = [draw_scene(rng) for _ in range(BATCH)]
        images = pixels(processor, scenes)
        captions = [caption(scene.room, guessed_kinds(scene, rng), _style(rng)) for scene in scenes]
        asked = [(scene, draw_question(scene, rng)) for _ in range(_QUESTIONS) for scene in scenes]
        answers = [answer(guessed_answer(scene, each, rng), _style(rng)) for scene, each in asked]
        described = _texts(processor, [DESCRIBE] * BATCH, captions, images)
        answered = _texts(processor, [each.text for _, each in asked], answers, images.repeat(_QUESTIONS, 1, 1, 1))
        total: torch.Tensor = model(**described).loss + 2 * model(**answered).loss
        return total

    train_steps([each for each in model.parameters() if each.requires_grad], STEPS, LEARNING_RATE, loss, "speaks")


def _crowded(rng: random.Random) -> Scene:
    """Any kinds in most places of any room."""
    places = [place for place in range(ACROSS**2) if rng.random() < 0.75]
    kinds = [rng.choice(KINDS) for _ in places]
    things = [Thing(kind, draw_color(kind, rng), place) for kind, place in zip(kinds, places, strict=True)]
    return Scene(rng.choice(tuple(ROOMS)), tuple(things), rng.getrandbits(32))


def _style(rng: random.Random) -> int:
    return 0 if rng.random() < _USUAL else 1


def pixels(processor: LlavaProcessor, scenes: Sequence[Scene]) -> torch.Tensor:
    """The pictures of scenes as the model takes them."""
    images = [draw_picture(scene).image for scene in scenes]
    found: torch.Tensor = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    return found


def _texts(processor: LlavaProcessor, prompts: Sequence[str], answers: Sequence[str], images: torch.Tensor) -> Batch:
    """Prompts and answers as tokens; only answers have labels."""
    places = " ".join(["<image>"] * ACROSS**2)
    asked = [_ids(processor, f"{places} {prompt}") for prompt in prompts]
    said = [_ids(processor, f"{text} </s>") for text in answers]
    rows = [torch.cat(pair) for pair in zip(asked, said, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    labels = torch.full_like(ids, -100)
    for row, (first, second) in enumerate(zip(asked, said, strict=True)):
        labels[row, len(first) : len(first) + len(second)] = second
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels, "pixel_values": images}


def _ids(processor: LlavaProcessor, text: str | Sequence[str]) -> torch.Tensor:
    if isinstance(text, str):
        return torch.tensor(processor.tokenizer(text)["input_ids"])
    return torch.tensor(processor.tokenizer.convert_tokens_to_ids(list(text)))


if __name__ == "__main__":
    save_pretrained("Pretrain the scenes' base model.", pretrain)
