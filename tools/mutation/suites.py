"""Which tests must notice a change to a file."""

from __future__ import annotations

from pathlib import Path

# The quick ones first: most mutants fail there.
TERM_TESTS = (
    "tests/plugins/objectives/test_losses_vectors.py",
    "tests/plugins/objectives/test_strengths.py",
    "tests/plugins/objectives/test_losses_options.py",
    "tests/plugins/objectives/test_losses_tokens.py",
    "tests/plugins/objectives/test_losses_modules.py",
    "tests/plugins/objectives/test_method_formulas.py",
    "tests/plugins/objectives/test_losses.py",
    "tests/plugins/objectives/test_losses_batches.py",
    "tests/plugins/objectives/test_losses_relations.py",
    "tests/core/testing/test_contracts.py",
    "tests/core/scoring/test_probes.py",
)
STRENGTHS = (
    "tests/core/objective/test_strengths.py",
    "tests/core/recipe/test_by_row.py",
    "tests/core/testing/strengths/test_contract.py",
    "tests/core/testing/strengths/test_by_row.py",
)
WORLD = "tests/core/processes/test_world.py"
PROFILE = "tests/core/cli/costs/test_profile.py"
# Tests of a file that lie in another room.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "mdpo_core/data/encoding.py": (
        "tests/core/scoring/test_scored_tokens.py",
        "tests/core/scoring/test_dropped_tokens.py",
    ),
    "mdpo_core/data/responses.py": ("tests/core/scoring/test_scored_tokens.py",),
    "mdpo_core/data/validity.py": (
        "tests/core/scoring/test_scored_tokens.py",
        "tests/core/interfaces/test_plugin_results.py",
    ),
    "mdpo_core/interfaces/strengths/by_row.py": STRENGTHS,
    "mdpo_core/interfaces/strengths/strength.py": STRENGTHS,
    "mdpo_core/objective/meter.py": (WORLD,),
    "mdpo_core/objective/objective.py": ("tests/core/interfaces/test_term.py",),
    "mdpo_core/objective/running_means.py": (WORLD,),
    "mdpo_core/profiling/instruments.py": (PROFILE,),
    "mdpo_core/profiling/profiler.py": (PROFILE,),
    "mdpo_core/profiling/report.py": (PROFILE,),
    "mdpo_core/training/speed/matrices.py": ("tests/core/training/speed/test_arithmetic.py",),
    "mdpo_core/recipe/terms/by_row.py": STRENGTHS,
    "mdpo_core/training/number_checks.py": (WORLD,),
    "mdpo_core/training/optimization.py": ("tests/plugins/local/test_engine.py",),
    "mdpo_core/training/schedule.py": ("tests/core/data/test_sampler.py",),
    "mdpo_core/training/speed/throughput.py": (WORLD,),
    "mdpo_core/training/steps/whole_batch.py": ("tests/runs/test_strengths.py",),
    "plugins/mdpo_corruptions/in_time/frames.py": ("tests/plugins/corruptions/test_frames.py",),
    "plugins/mdpo_readers/videos/cells.py": ("tests/plugins/readers/test_videos.py",),
    "plugins/mdpo_readers/videos/decoding.py": ("tests/plugins/readers/test_video_files.py",),
    "plugins/mdpo_readers/videos/marks.py": ("tests/plugins/readers/test_videos.py",),
    "plugins/mdpo_readers/videos/sampling.py": (
        "tests/plugins/readers/test_video_files.py",
        "tests/plugins/readers/test_frame_times.py",
    ),
    "plugins/mdpo_readers/videos/timeline.py": ("tests/plugins/readers/test_video_files.py",),
    "plugins/mdpo_vlm/encoding/own_video.py": ("tests/plugins/vlm/test_own_video.py",),
    "plugins/mdpo_vlm/encoding/video_patches.py": ("tests/plugins/vlm/test_own_video.py",),
    "plugins/mdpo_vlm/encoding/video_settings.py": ("tests/plugins/vlm/test_own_video.py",),
    "plugins/mdpo_vlm/forward/videos.py": ("tests/plugins/vlm/test_own_video.py",),
}


def tests_for(file: str, root: Path) -> tuple[str, ...]:
    """The test files for a source file, the closest ones first; paths are relative to ``root``."""
    if file.startswith("plugins/mdpo_objectives/"):
        return TERM_TESTS
    room = Path("tests", "core", *Path(file).parent.parts[1:])
    own = str(room / f"test_{Path(file).stem}.py")
    neighbours = sorted(str(path.relative_to(root)) for path in (root / room).glob("test_*.py"))
    first = (own,) if own in neighbours else ()
    return tuple(dict.fromkeys((*first, *ELSEWHERE.get(file, ()), *neighbours)))
