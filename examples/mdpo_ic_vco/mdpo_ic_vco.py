import random
import re
from dataclasses import replace
from itertools import count
from math import log
from typing import Literal

from pydantic import Field
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from mdpo_core import IMAGE_MARK, MARK, Corruption, Loss, Scores, View, hookimpl

# What stands behind the question in a ready-made prompt: the end of its turn, and the call for an answer.
CALL = re.compile(
    r"(?:\s*(?:<\|[^|<>]*\|>(?:assistant|model)?|<(?:start|end)_of_turn>(?:model)?|</s>|\[/INST\]|"
    r"(?:###\s*)?\b(?:assistant|gpt|answer):))*\s*$",
    re.IGNORECASE,
)


class BothImages(Corruption):
    """Show a row's picture and another one in one prompt, and ask about one of the two (IC-VCO, arXiv:2605.31312).

    A draw from the row's id says which of them is the first, so that both questions show them in one order. The
    sentence stands behind the question, also in a ready-made prompt. Of more than two pictures, it names the first ones
    or the last ones; frames of videos count, too.
    """

    picture: str = Field(description="name of the other image, as in the reader's option other_images")
    about: Literal["own", "other"] = Field(default="own", description="the picture that is asked about")

    def needs(self):
        return {"other_images": (self.picture,)}

    def apply(self, example, rng, data):
        others = example.other_images[self.picture]
        swapped = random.Random(example.id).random() < 0.5
        counts = (len(example.images), len(others))
        asked = _asked(counts[self.about == "other"], (self.about == "own") != swapped, is_one_of_two=counts == (1, 1))
        images = (*others, *example.images) if swapped else (*example.images, *others)
        place, numbers = 0 if swapped else example.num_marks - 1, count()
        marks = IMAGE_MARK * (1 + len(others))
        shown = example.with_prompt(
            lambda text: MARK.sub(lambda mark: marks if next(numbers) == place else mark[0], text)
        )
        before = len(others) if swapped else 0
        videos = tuple(range(video.start + before, video.stop + before) for video in example.videos)
        prompt = _followed(shown.prompt, f" Answer based on the {asked}.")
        return replace(shown, prompt=prompt, images=images, videos=videos)

    @classmethod
    def contract(cls, folder):
        from mdpo_core.testing import check_corruption

        check_corruption(cls(picture="other", about="other"), varies=False)


def _asked(count, comes_first, is_one_of_two):
    if is_one_of_two:
        return "first image" if comes_first else "second image"
    of_several = f"{count} images" if count > 1 else "image"
    return f"{'first' if comes_first else 'last'} {of_several}"


def _followed(prompt, question):
    if isinstance(prompt, str):
        end = CALL.search(prompt).start()
        return prompt[:end] + question + prompt[end:]
    *turns, last = prompt
    return (*turns, replace(last, text=last.text + question))


class ICVCO(Loss):
    """Two pictures with an answer each, shown one by one and side by side (IC-VCO, arXiv:2605.31312).

        1/2 single (P(one) + anchors A(one)) + 1/2 multi (P(two) + anchors A(two)) + 1/2 distil V
        P: mean of -ls(beta M), and A of -ls(beta r(y)), over both pictures        M = r(own answer) - r(other answer)
        V: mean over both of [t > threshold and s < t] BCE(s, t)        s = sigmoid(beta M(one)), t: two's, detached

    Formula and numbers are those of the authors' code, but for three things. It divides V by the pairs that pass the
    gate in a micro-batch, and this by all. It scores, with one picture, only the edited words, which its data name. It
    begins with a fine-tuning on the chosen answers. The rejected response describes the other picture.
    """

    beta: float = Field(default=0.1, gt=0, description="reward per nat of log-ratio")
    single: float = Field(default=1.75, ge=0, description="factor of prompts with one picture")
    multi: float = Field(default=0.75, ge=0, description="factor of prompts with both")
    anchors: float = Field(default=1.0, ge=0, description="factor of the anchors in both")
    distil: float = Field(default=0.4, ge=0, description="factor of the distillation from two pictures to one")
    threshold: float = Field(default=0.5, ge=0, le=1, description="the least probability that is distilled")
    other: str = Field(default="other", description="the condition with the other picture alone")
    both_own: str = Field(default="both_own", description="the condition with both, about the row's own")
    both_other: str = Field(default="both_other", description="the condition with both, about the other")

    def views(self):
        return tuple(view for pair in (*self._pairs("clean", self.other), *self._together()) for view in pair)

    def _pairs(self, own, other):
        """The better view and the worse one, about each picture."""
        return [(View("chosen", own), View("rejected", own)), (View("rejected", other), View("chosen", other))]

    def _together(self):
        return self._pairs(self.both_own, self.both_other)

    def __call__(self, scores: Scores):
        alone, together = self._pairs("clean", self.other), self._together()
        costs = self.single * self._cost(scores, alone) + self.multi * self._cost(scores, together)
        taught = [self._taught(scores, *pairs) for pairs in zip(alone, together, strict=True)]
        return (costs + self.distil * sum(taught) / 2) / 2

    def _cost(self, scores, pairs):
        costs = [self._of(scores.margin(*pair)) + self.anchors * self._of(scores.log_ratio(pair[0])) for pair in pairs]
        return sum(costs) / 2

    def _of(self, margin):
        return -logsigmoid(self.beta * margin)

    def _taught(self, scores, alone, together):
        student, teacher = (self.beta * scores.margin(*pair) for pair in (alone, together))
        target = teacher.detach().sigmoid()
        passes = (target > self.threshold) & (student.detach() < teacher.detach())
        return binary_cross_entropy_with_logits(student, target, reduction="none").where(passes, 0)

    @classmethod
    def contract(cls, folder):
        from mdpo_core.testing import check_loss

        check_loss(cls(), indifference=2.5 * log(2), differences_only=False)


@hookimpl
def mdpo_components():
    return {"ic_vco": ICVCO, "both_images": BothImages}
