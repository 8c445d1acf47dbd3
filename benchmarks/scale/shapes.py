"""Models on paper: their numbers, tokens and arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scale.parts import Parts, Share


@dataclass(frozen=True)
class Language:
    """A Llama-like language model, with grouped queries where ``kv_heads`` are fewer."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int

    @property
    def kv(self) -> int:
        return self.hidden // self.heads * self.kv_heads

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Of one layer: inputs and outputs of q, k, v, o, gate, up and down."""
        wide = (self.hidden, self.intermediate)
        return [(self.hidden, self.hidden)] * 2 + [(self.hidden, self.kv)] * 2 + [wide, wide, wide]

    @property
    def layer(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.matrices) + 2 * self.hidden


# CLIP-L/14 at 336 pixels, in every LLaVA-1.5: 24 layers of hidden 1024 and 4 * 1024, with biases and norms.
VISION_HIDDEN = 1024
VISION_LAYERS = 24
VISION_LAYER = 12 * VISION_HIDDEN**2 + 13 * VISION_HIDDEN
VISION_REST = 3 * 14**2 * VISION_HIDDEN + (24**2 + 1 + 1 + 4) * VISION_HIDDEN
IMAGE_TOKENS = 24**2

# As in docs/evidence/performance.md, of one pair: two prompts (the picture and its crop), three responses.
PROMPT, RESPONSE = 40, 100
TOKENS = 2 * (IMAGE_TOKENS + PROMPT) + 3 * RESPONSE
READ_TOKENS = 3 * RESPONSE
LORA_RANK = 64


@dataclass(frozen=True)
class Model:
    """A LLaVA of CLIP-L/14-336, a two-layer projector and a language model; LoRA or all but the vision tower trains."""

    name: str
    language: Language
    lora: bool

    @property
    def lora_numbers(self) -> int:
        """Of one layer."""
        return sum(LORA_RANK * (inputs + outputs) for inputs, outputs in self.language.matrices) if self.lora else 0

    @property
    def parts(self) -> Parts:
        language = self.language
        projector = VISION_HIDDEN * language.hidden + language.hidden**2 + 2 * language.hidden
        rest = 2 * language.vocab * language.hidden + language.hidden + projector
        layer = language.layer + self.lora_numbers
        return Parts(
            Share(language.layers * layer, language.layers * (self.lora_numbers or layer)),
            Share(VISION_LAYERS * VISION_LAYER, 0),
            Share(rest + VISION_REST, 0 if self.lora else rest),
            layer,
            VISION_LAYERS,
            2 * language.vocab * language.hidden,
        )

    @property
    def flops(self) -> float:
        """Of one pair in training, with activations computed again; attention's scores, about 1 %, are left out.

        Twice the weights for each token forward, again in the second forward, once more for the gradient of what a
        matrix is given, and once more for its own where it trains. A frozen head computes no logits again.
        """
        language = self.language
        layers = 2 * language.layers * (language.layer + self.lora_numbers) * TOKENS
        head = 2 * language.vocab * language.hidden * READ_TOKENS
        passes = 3 if self.lora else 4
        vision = 2 * VISION_LAYERS * VISION_LAYER * 2 * (IMAGE_TOKENS + 1)
        return passes * layers + (2 if self.lora else 4) * head + vision

    @property
    def caching_flops(self) -> float:
        """Of one pair's reference, once for all epochs."""
        language = self.language
        layers = 2 * language.layers * language.layer * TOKENS
        vision = 2 * VISION_LAYERS * VISION_LAYER * 2 * (IMAGE_TOKENS + 1)
        return layers + 2 * language.vocab * language.hidden * READ_TOKENS + vision


LANGUAGES = {
    "7B": Language(4096, 11008, 32, 32, 32, 32_064),
    "13B": Language(5120, 13824, 40, 40, 40, 32_064),
    "72B": Language(8192, 29568, 80, 64, 8, 152_064),
}
MODELS = [Model(name, language, lora) for lora in (True, False) for name, language in LANGUAGES.items()]
