"""The routers of a mixture of experts, as transformers records them."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from mdpo_core import Routing

_RECORDED = "router_logits"


def routing(model: PreTrainedModel) -> Routing:
    """The routers of the language model. Of their outputs, transformers records the first: the logits."""
    decoder: Any = model.get_decoder()
    kind = decoder._can_record_outputs[_RECORDED].target_class
    routers = [module for module in decoder.modules() if isinstance(module, kind)]
    return Routing(routers, int(model.config.get_text_config().num_experts_per_tok))
