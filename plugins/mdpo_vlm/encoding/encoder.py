"""Encode examples as token ids and image inputs, with the model's processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mdpo_core import IMAGE_MARK, DataError, EncodedPrompt, Example, ImageInputs, Problem
from mdpo_vlm.encoding.own_video import Shown
from mdpo_vlm.encoding.processor_calls import processing, require_resizable, row_error, tokenizing
from mdpo_vlm.encoding.unusual_texts import UnusualTextsOption
from mdpo_vlm.families import Family

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import ProcessorMixin

    from mdpo_vlm.encoding.loaded import Loaded


class VlmEncoder:
    """An `Encoder` that uses the processor of transformers. Responses are tokenized alone, with the end of a turn.

    ``folder`` contains the processor; ``model`` is the folder whose configuration names the class of the processor.
    ``chat``: prompts and responses use the chat template. ``max_resized_pixels``: rows with an image that the processor
    would make larger are bad. ``special_tokens``: those that texts may contain. ``unusual_texts``: which texts that
    are seldom meant make a row bad, see `UnusualTexts`. ``shows_videos``: a video enters by the model's own input, see
    `OwnVideo`; False: its frames enter as images. The processor is loaded when it is first used, see `loaded`.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        family: Family,
        chat: bool,
        max_resized_pixels: int,
        special_tokens: Sequence[str] = (),
        unusual_texts: UnusualTextsOption = "keep",
        shows_videos: bool = False,
    ) -> None:
        self._arguments = folder, model, family, chat, max_resized_pixels, special_tokens, unusual_texts
        self._family = family
        self._max_resized_pixels = max_resized_pixels
        self._shows_videos = shows_videos and family.video is not None

    @cached_property
    def loaded(self) -> Loaded:
        """The processor and what texts are judged by, loaded when first asked for. Raises `DataError`."""
        from mdpo_vlm.encoding.loaded import Loaded

        folder, model, family, chat, _, special_tokens, unusual_texts = self._arguments
        video = family.video if self._shows_videos else None
        return Loaded.of(folder, model, video, chat, special_tokens, unusual_texts)

    @property
    def processor(self) -> ProcessorMixin:
        """The model's processor."""
        return self.loaded.processor

    def __reduce__(self) -> tuple[object, ...]:
        # A worker loads it again: some processors cannot be pickled.
        return type(self), (*self._arguments, self._shows_videos)

    def problems_of_texts(self, example: Example) -> list[str]:
        """Texts that are seldom meant, unless they are kept, and frames that make no video, a sentence for each."""
        videos = [] if self.loaded.video is None else self.loaded.video.problems(example)
        return [*self.loaded.unusual.problems(example), *videos]

    @property
    def shows_videos(self) -> bool:
        """Whether videos enter by the model's own input."""
        return self._shows_videos

    @property
    def special_texts(self) -> frozenset[str]:
        """All special tokens, as texts."""
        return frozenset(self.loaded.special_tokens.known)

    def encode_prompt(self, example: Example) -> EncodedPrompt:
        shown = self._shown(example)
        inputs = self._processed(shown)
        with processing(example):
            token_ids = torch.as_tensor(inputs["input_ids"][0])
            self._require_rows(token_ids)
            pictures = self._images(shown.pictures, inputs)
            if self.loaded.video is None:
                return EncodedPrompt(token_ids, pictures)
            return self.loaded.video.encoded(token_ids, pictures, shown, inputs)

    def process(self, example: Example) -> Mapping[str, Any]:
        """All outputs of the processor for a prompt."""
        return self._processed(self._shown(example))

    def _shown(self, example: Example) -> Shown:
        """The pictures and videos of a row. Raises `DataError` if they do not fit its marks or the model."""
        self._require_marks(example)
        if example.dropped is not None and self._family.cross_attention:
            message = "image tokens cannot be dropped, for a picture has only one: layers of their own read the picture"
            raise row_error(example, f"{message} (cross-attention); choose a corruption that changes the picture")
        example = self._with_plain_text(example)
        shown = Shown.frames_as_images(example) if self.loaded.video is None else self.loaded.video.shown(example)
        require_resizable(self.processor.image_processor, shown.example, self._max_resized_pixels)
        return shown

    def _processed(self, shown: Shown) -> Mapping[str, Any]:
        text = self._prompt_text(shown)
        with processing(shown.example):
            inputs = self.processor(
                text=[text],
                images=list(shown.pictures) or None,
                return_tensors=self.loaded.tensors,
                **shown.video_options,
                **self._begin_options(text),
            )
        return {name: values for name, values in inputs.items() if name != "labels"}

    def encode_response(self, response: str) -> Tensor:
        try:
            response = self.loaded.plain.hidden(response)
        except ValueError as error:
            raise DataError([Problem("", "", f"the response {error}")]) from None
        problem = self.loaded.special_tokens.problem_of_text(response)
        if problem is not None:
            raise DataError([Problem("", "", f"the response {problem}")])
        with tokenizing():
            ids = self._response_ids(response)
        if self.image_token in ids:
            text = self.token_texts([self.image_token])[0]
            raise DataError([Problem("", "", f"a response contains the image token {text!r}")])
        token_ids = torch.tensor(ids)
        self._require_rows(token_ids)
        unwritten = [token for token in ids if token >= self.loaded.num_words]
        if unwritten:
            text = self.token_texts(unwritten[:1])[0]
            raise DataError([Problem("", "", f"a response contains {text!r}, which the model reads, but never writes")])
        return token_ids

    def _response_ids(self, response: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        if self.loaded.template is not None:
            return list(self.loaded.template.response_ids(tokenizer, response))
        return [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def _require_rows(self, token_ids: Tensor) -> None:
        """Raise `DataError` for a token that is not a row of the model's embedding."""
        largest = int(token_ids.max()) if len(token_ids) else 0
        if largest >= self.loaded.num_rows:
            text = f"the token {self.token_texts([largest])[0]!r} has the id {largest}"
            raise DataError([Problem("", "", f"{text}, but the model's embedding has {self.loaded.num_rows} rows")])

    @property
    def image_token(self) -> int:
        return self.loaded.image_token

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        return [str(self.processor.tokenizer.decode([token])) for token in token_ids]

    def decode(self, token_ids: Tensor) -> str:
        return str(self.processor.tokenizer.decode(token_ids, skip_special_tokens=True)).strip()

    def _prompt_text(self, shown: Shown) -> str:
        if self.loaded.template is not None:
            self._require_text(shown.example)
            return self.loaded.template.prompt(shown.example, shown.are_videos)
        processor = self.processor
        texts = [processor.video_token if is_video else processor.image_token for is_video in shown.are_videos]
        return self._ready_prompt(shown.example, texts)

    def _ready_prompt(self, example: Example, shown_texts: Sequence[str]) -> str:
        """A prompt in the format of the model, with ``shown_texts`` in place of its marks."""
        if not isinstance(example.prompt, str):
            bare = "a bare question, which the reader gives as a turn of a chat; this is "
            found = f"{bare if len(example.prompt) == 1 else ''}a conversation, which needs model.prompts: chat"
            raise row_error(example, f"the prompt is {found}")
        text = example.prompt.replace(IMAGE_MARK, "")
        # What stands for a picture, and what stands for one of its features.
        for token in (self.processor.image_token, *self.token_texts([self.image_token])):
            if token in text:
                raise row_error(example, f"the prompt contains the image token {token!r}; mark images by {IMAGE_MARK}")
        problem = self.loaded.special_tokens.problem_of_ready_prompt(text)
        if problem is not None:
            raise row_error(example, f"the prompt {problem}")
        between = example.prompt.split(IMAGE_MARK)
        return "".join(text for pair in zip(between, [*shown_texts, ""], strict=True) for text in pair)

    def _with_plain_text(self, example: Example) -> Example:
        try:
            return example.with_prompt(self.loaded.plain.hidden)
        except ValueError as error:
            raise row_error(example, f"the prompt {error}") from None

    def _require_text(self, example: Example) -> None:
        turns = [example.prompt] if isinstance(example.prompt, str) else [turn.text for turn in example.prompt]
        for turn in turns:
            problem = self.loaded.special_tokens.problem_of_text(turn.replace(IMAGE_MARK, ""))
            if problem is not None:
                raise row_error(example, f"the prompt {problem}")

    def _begin_options(self, text: str) -> dict[str, bool]:
        """Let the tokenizer add a begin token only if the template did not add one."""
        bos = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if bos and text.startswith(bos) else {}

    def _images(self, images: Sequence[Image], inputs: Mapping[str, Any]) -> tuple[ImageInputs, ...]:
        """Process each image alone, because models combine several images in different ways."""
        if len(images) == 1:
            return (self._image_inputs(inputs),)
        text = [self.processor.image_token]
        return tuple(
            self._image_inputs(self.processor(text=text, images=[image], return_tensors=self.loaded.tensors))
            for image in images
        )

    def _image_inputs(self, inputs: Mapping[str, Any]) -> ImageInputs:
        names = self.processor.image_processor.model_input_names
        return {name: torch.as_tensor(inputs[name]) for name in names if name in inputs}

    def _require_marks(self, example: Example) -> None:
        marks, images = example.num_marks, len(example.images)
        if marks != images:
            raise row_error(example, f"the prompt has {marks} {IMAGE_MARK} marks for {images} images")
        least, most = self._family.num_images
        if images < least or (most is not None and images > most):
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            raise row_error(example, f"{images} images; a model of this family takes {limits} in a row")
