"""The routers of a mixture of experts, as transformers records them."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from mdpo_core import Routing
from mdpo_vlm.parts.names import decoder_of

_RECORDED = "router_logits"


def routing(model: PreTrainedModel) -> Routing:
    """The routers of the language model, and which of their outputs transformers records: the logits."""
    decoder: Any = decoder_of(model)
    recorded = decoder._can_record_outputs[_RECORDED]
    routers = [module for module in decoder.modules() if isinstance(module, recorded.target_class)]
    return Routing(routers, int(model.config.get_text_config().num_experts_per_tok), int(recorded.index))
