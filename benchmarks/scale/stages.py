"""The stages: backends with their options, each with its formulas, in numbers and in words.

In words: T numbers train, L are in layers of the language model, V in those of the vision tower, R in neither; R' of
these train and are no input embeddings. N ranks, M micro-batches; ``w``: bytes of a weight as it travels, ``g``: of a
gradient.
"""

from __future__ import annotations

from benchmarks.scale.formulas import Kept, Setting, Stage, Traffic

# DeepSpeed reduces gradients in buckets of so many numbers, or of all that train if those are fewer.
BUCKET = 500_000_000
# By default ZeRO-3 keeps a billion numbers together in between, which all of a small model is; so it behaves as with a
# large one. Small weights it would keep whole, too.
AS_IF_LARGE = {
    "zero_optimization": {
        "stage3_max_live_parameters": 1,
        "stage3_max_reuse_distance": 1,
        "stage3_prefetch_bucket_size": 0,
        "stage3_param_persistence_threshold": 0,
    }
}


def local_traffic(setting: Setting) -> Traffic:
    return Traffic(reduced=setting.trained * setting.widths.sent_gradient)


def local_kept(setting: Setting) -> Kept:
    widths = setting.widths
    return Kept(setting.weights, setting.trained * widths.gradient, setting.trained * widths.state)


def fsdp_traffic(setting: Setting, reshard: bool, each_time: bool) -> Traffic:
    parts, widths = setting.parts, setting.widths
    times = 2 + setting.reference if reshard else 1
    gathered = times * _gathered(setting, parts.layers.frozen, parts.layers.trained)
    vision = _gathered(setting, parts.vision.frozen, parts.vision.trained)
    gathered += vision
    if reshard:
        # While the first layer's backward runs, FSDP fetches what was computed before it: the vision tower's last
        # layer, or one that the reference's forward went through. In vain.
        before = vision / max(1, parts.vision_layers)
        gathered += parts.largest_layer * widths.gathered_frozen if setting.reference else before
    gathered += _gathered(setting, parts.rest.frozen, parts.rest.trained)
    exchanges = setting.micro_batches if each_time else 1
    return Traffic(
        gathered=setting.micro_batches * gathered, scattered=exchanges * setting.trained * widths.sent_gradient
    )


def fsdp_kept(setting: Setting, each_time: bool) -> Kept:
    widths, world = setting.widths, setting.world
    whole = not each_time and setting.micro_batches > 1
    gradients = setting.trained * (widths.sent_gradient if whole else widths.gradient / world)
    return Kept(setting.weights / world, gradients, setting.trained * widths.state / world, _together(setting))


def zero_traffic(setting: Setting, stage: int) -> Traffic:
    gradients = setting.trained * setting.widths.sent_gradient
    weights = setting.trained * setting.widths.gathered
    if stage == 3:
        return _zero3_traffic(setting)
    # Stage 2 has nowhere to keep whole gradients until the last micro-batch. DeepSpeed reduces them for all ranks.
    return Traffic(gathered=weights if stage else 0, reduced=gradients * (setting.micro_batches if stage == 2 else 1))


def _zero3_traffic(setting: Setting) -> Traffic:
    parts = setting.parts
    passes = 1 + setting.reference
    once = (parts.vision.frozen + parts.rest.frozen, parts.vision.trained + parts.rest.trained)
    gathered = _gathered(setting, *once) + passes * _gathered(setting, parts.layers.frozen, parts.layers.trained)
    # Again for backward; what trains outside the layers, too, but for the input embeddings.
    outside = max(0, parts.rest.trained - parts.words // 2)
    gathered += _gathered(setting, parts.layers.frozen, parts.layers.trained + outside)
    gathered += setting.reference * parts.words * setting.widths.gathered_frozen
    return Traffic(
        gathered=setting.micro_batches * gathered,
        scattered=setting.micro_batches * setting.trained * setting.widths.sent_gradient,
    )


def zero_kept(setting: Setting, stage: int) -> Kept:
    widths, world, trained = setting.widths, setting.world, setting.trained
    bucket = min(trained, BUCKET) * widths.sent_gradient
    # Beside bfloat16 weights stages 0 and 1 add gradients up in bfloat16.
    gradient = widths.gradient if stage >= 2 else widths.sent_gradient
    if stage == 0:
        # In float32 there is no other copy of what trains.
        copy = 4 if widths.trained == 4 else 0
        return Kept(setting.weights, trained * gradient, trained * (widths.state - copy))
    state = trained * widths.state / world
    if stage == 1:
        return Kept(setting.weights, trained * gradient + bucket, state)
    if stage == 2:
        return Kept(setting.weights, trained * widths.gradient / world, state, bucket)
    return Kept(setting.weights / world, trained * widths.gradient / world + bucket, state, _together(setting))


def _gathered(setting: Setting, frozen: int, trained: int) -> float:
    return frozen * setting.widths.gathered_frozen + trained * setting.widths.gathered


def _together(setting: Setting) -> float:
    """Weights that are whole at once: the layer that computes, the next one, and what is in no layer."""
    parts, widths = setting.parts, setting.widths
    return (2 * parts.largest_layer + parts.rest.numbers) * widths.gathered_frozen


STAGES = {
    "local (DDP)": Stage(("local", {}), local_traffic, local_kept, "2(N-1)/N gT", "weights + gT + moments"),
    "fsdp": Stage(
        ("fsdp", {}),
        lambda setting: fsdp_traffic(setting, True, False),
        lambda setting: fsdp_kept(setting, False),
        "(N-1)/N [M w(2L + V + V/layers + R) + gT]",
        "(weights + moments)/N + gT",
    ),
    "fsdp, exchange: micro_batch": Stage(
        ("fsdp", {"exchange": "micro_batch"}),
        lambda setting: fsdp_traffic(setting, True, True),
        lambda setting: fsdp_kept(setting, True),
        "(N-1)/N M [w(2L + V + V/layers + R) + gT]",
        "(weights + gT + moments)/N",
    ),
    "fsdp, reshard_after_forward: false": Stage(
        ("fsdp", {"reshard_after_forward": False}),
        lambda setting: fsdp_traffic(setting, False, False),
        lambda setting: fsdp_kept(setting, False),
        "(N-1)/N [M w(L + V + R) + gT]",
        "(weights + moments)/N + gT",
    ),
    "ZeRO 0": Stage(
        ("deepspeed", {"zero_stage": 0}),
        lambda setting: zero_traffic(setting, 0),
        lambda setting: zero_kept(setting, 0),
        "2(N-1)/N gT",
        "weights + gT + moments and copy",
    ),
    "ZeRO 1": Stage(
        ("deepspeed", {"zero_stage": 1}),
        lambda setting: zero_traffic(setting, 1),
        lambda setting: zero_kept(setting, 1),
        "(N-1)/N (2gT + wT)",
        "weights + gT + bucket + (moments and copy)/N",
    ),
    "ZeRO 2": Stage(
        ("deepspeed", {"zero_stage": 2}),
        lambda setting: zero_traffic(setting, 2),
        lambda setting: zero_kept(setting, 2),
        "(N-1)/N (2M gT + wT)",
        "weights + (gT + moments and copy)/N",
    ),
    "ZeRO 3": Stage(
        ("deepspeed", {"zero_stage": 3, "config": AS_IF_LARGE}),
        lambda setting: zero_traffic(setting, 3),
        lambda setting: zero_kept(setting, 3),
        "(N-1)/N M [w(2L + V + R + R') + gT]",
        "(weights + gT + moments and copy)/N + bucket",
    ),
}
