"""Generate responses with `generate` of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mdpo_core import Decoding, EncodedImage, EncodedPrompt, current_world, device_of
from mdpo_vlm.families import Family
from mdpo_vlm.forward.answers.long_rows import batches_of_steady_positions, becomes_long, forget_long_rows
from mdpo_vlm.forward.images import encode_images, model_inputs
from mdpo_vlm.forward.positions import prompt_positions
from mdpo_vlm.forward.videos import is_video
from mdpo_vlm.forward.ways_in.marks import marked
from mdpo_vlm.forward.ways_in.own_projector import projected


def generate(
    base: PreTrainedModel,
    family: Family,
    prompts: Sequence[EncodedPrompt],
    decoding: Decoding,
    around: Sequence[int] = (),
) -> list[Tensor]:
    """The response to each prompt, without its end token. No token attends to dropped tokens.

    ``around``: the numbers of the tokens around images.
    """
    device = device_of(base)
    batches = batches_of_steady_positions(base.config, prompts, decoding.max_new_tokens)
    responses: list[Tensor] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(decoding.seed)
        for batch in batches:
            responses += _responses(base, family, batch, decoding, around)
            forget_long_rows(base)
    return responses[: len(prompts)]


def _responses(
    base: PreTrainedModel,
    family: Family,
    prompts: Sequence[EncodedPrompt],
    decoding: Decoding,
    around: Sequence[int],
) -> list[Tensor]:
    device, ends = device_of(base), end_tokens(base)
    token_ids, attention_mask = (part.to(device) for part in _left_padded(prompts))
    images = [{name: part.to(device) for name, part in image.items()} for each in prompts for image in each.images]
    # Forget the value of an earlier call; transformers would use it for a prompt without images.
    getattr(base, "model", base).rope_deltas = None
    encoded = encode_images(base, family, images) if images else ()
    with projected(base) if family.projects_itself else nullcontext():
        generated = base.generate(
            input_ids=token_ids,
            attention_mask=attention_mask,
            **marked(base, family, token_ids, torch.zeros_like(token_ids, dtype=torch.bool), around),
            **model_inputs(base, family, token_ids, encoded),
            **_positions(base, family, prompts, encoded),
            **_options(decoding),
            use_cache=not becomes_long(base.config, prompts, decoding.max_new_tokens),
            # If weights are split over processes, each process continues until the last one has finished.
            synced_gpus=current_world().size > 1,
            pad_token_id=ends[0],
        )
    return [_before_end(ids[token_ids.shape[1] :].cpu(), ends) for ids in generated]


def end_tokens(base: PreTrainedModel) -> list[int]:
    """The tokens that end a response."""
    end = base.generation_config.eos_token_id
    if end is None:
        end = base.config.get_text_config().eos_token_id
    return [int(each) for each in (end if isinstance(end, list) else [end])]


# One answer a prompt, token by token, whatever the model's own settings are: with beams, the features of a prompt's
# images would have to be repeated for each.
_ONE_ANSWER: Mapping[str, object] = {
    "num_beams": 1,
    "early_stopping": False,
    "length_penalty": 1.0,
    "num_return_sequences": 1,
    "prompt_lookup_num_tokens": None,
    "return_dict_in_generate": False,
}


def _options(decoding: Decoding) -> dict[str, object]:
    common = {**_ONE_ANSWER, "max_new_tokens": decoding.max_new_tokens}
    if decoding.temperature == 0:
        # Unset the model's own sampling settings: they have no effect here, but transformers would warn about them.
        greedy = {"temperature": None, "top_p": None, "top_k": None}
        return {**common, "do_sample": False, **greedy}
    sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    return {**common, "do_sample": True, **sampling}


def _left_padded(prompts: Sequence[EncodedPrompt]) -> tuple[Tensor, Tensor]:
    length = max(len(prompt.token_ids) for prompt in prompts)
    token_ids = torch.zeros(len(prompts), length, dtype=torch.long)
    attention_mask = torch.zeros_like(token_ids)
    for row, prompt in enumerate(prompts):
        token_ids[row, length - len(prompt.token_ids) :] = prompt.token_ids
        attention_mask[row, length - len(prompt.token_ids) :] = 1 if prompt.dropped is None else ~prompt.dropped
    return token_ids, attention_mask


def _positions(
    base: PreTrainedModel, family: Family, prompts: Sequence[EncodedPrompt], images: Sequence[EncodedImage]
) -> dict[str, Tensor]:
    """Position ids where those of transformers would be wrong.

    Dropped tokens keep their positions, but it would count without them; it would take videos for images.
    """
    if all(prompt.dropped is None for prompt in prompts) and not any(is_video(image.inputs) for image in images):
        return {}
    ids = [prompt.token_ids.to(device_of(base)) for prompt in prompts]
    return {"position_ids": prompt_positions(base, family, ids, images)}


def _before_end(token_ids: Tensor, ends: Sequence[int]) -> Tensor:
    """The tokens before the first end token."""
    [positions] = torch.isin(token_ids, torch.tensor(ends)).nonzero(as_tuple=True)
    return token_ids[: int(positions[0])] if len(positions) else token_ids
