"""Which class of transformers makes a model."""

from __future__ import annotations

import pytest
from mdpo_vlm.families import FAMILIES
from mdpo_vlm.loading.doors import auto_class
from transformers import AutoModelForImageTextToText, AutoModelForMultimodalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

# Mistral Small 4 has the configuration of Mistral 3.
TYPES = sorted(set(FAMILIES) - {"mistral4"})


@pytest.mark.parametrize("model_type", TYPES)
def test_the_second_door_opens_only_where_the_first_is_closed(model_type: str) -> None:
    kind = CONFIG_MAPPING[model_type]
    door = auto_class(kind())
    assert kind in door._model_mapping
    assert (door is AutoModelForMultimodalLM) == (kind not in AutoModelForImageTextToText._model_mapping)
    assert (door is AutoModelForMultimodalLM) == (model_type == "phi4_multimodal")
