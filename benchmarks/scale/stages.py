from typing import NamedTuple
class S(NamedTuple):
    backend: tuple
_SMALL={"zero_optimization":{"stage3_max_live_parameters":1,"stage3_max_reuse_distance":1,"stage3_prefetch_bucket_size":0,"stage3_param_persistence_threshold":0}}
STAGES={"local (DDP)":S(("local",{})),"fsdp":S(("fsdp",{})),"fsdp, exchange: micro_batch":S(("fsdp",{"exchange":"micro_batch"})),
"fsdp, reshard_after_forward: false":S(("fsdp",{"reshard_after_forward":False})),
**{f"ZeRO {i}":S(("deepspeed",{"zero_stage":i}|({"config":_SMALL} if i==3 else {}))) for i in range(4)}}
