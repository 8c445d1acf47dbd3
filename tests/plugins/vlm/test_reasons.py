"""The reasons for which families are refused are still true with the transformers that is installed."""

import re

import pytest
from mdpo_vlm.families import FAMILIES, REFUSED
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

WITHOUT_PIL = sorted(name for name, why in REFUSED.items() if "without torchvision" in why)


@pytest.mark.parametrize("name", WITHOUT_PIL)
def test_transformers_reads_its_pictures_only_with_torchvision(name: str) -> None:
    assert set(IMAGE_PROCESSOR_MAPPING_NAMES[name]) == {"torchvision"}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_sentence_names_a_family_that_has_a_row(name: str) -> None:
    named = re.search(r"\(model_type (\w+)\)", REFUSED[name])
    assert named is not None
    assert named[1] in FAMILIES


def test_the_encoder_of_gemma3n_is_one_of_timm() -> None:
    assert MODEL_MAPPING_NAMES["gemma3n_vision"] == "TimmWrapperModel"
