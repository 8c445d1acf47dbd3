"""The reasons for which families are refused are still true with the transformers that is installed."""

import re

import pytest
from mdpo_vlm.families import FAMILIES, REFUSED
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

OF_TIMM = sorted(name for name, why in REFUSED.items() if "timm" in why)


@pytest.mark.parametrize("name", OF_TIMM)
def test_its_vision_encoder_is_one_of_timm(name: str) -> None:
    vision = CONFIG_MAPPING[name]().vision_config
    assert MODEL_MAPPING_NAMES[vision.model_type] == "TimmWrapperModel"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_sentence_names_a_family_that_has_a_row(name: str) -> None:
    named = re.search(r"\(model_type (\w+)\)", REFUSED[name])
    assert named is not None
    assert named[1] in FAMILIES
