"""Readers of preference data.

The files, from the ground up; each imports only files above it in this list:

    cell_types                                   single values
    embedded                                     which values are pictures themselves
    tables                                       stored rows: JSON, or a table of `datasets`
    messages                                     questions, and marks that nobody wrote
    other_marks                                  marks of pictures of other data sets
    conversations, images, vectors_and_boxes     the contents of a cell
    videos                                       videos as frames
    file_reader                                  what all readers of files share
    video_reader                                 the options of readers of videos
    pair_columns                                 the columns to read
    mixture                                      several sources, read as one
    formats                                      named formats: what each of them has in common
    named                                        one file for each named format
    stored_pairs                                 rows as they are stored
    examples                                     examples from stored rows
    pairs                                        the reader whose columns the recipe names, and its options

A named format is one class: see `formats.table_reader.TableReader`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mdpo_core import Component, hookimpl
from mdpo_readers.cell_types import text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.mixture import Mixture
from mdpo_readers.named.collections.align_anything import AlignAnything
from mdpo_readers.named.collections.arena import Arena
from mdpo_readers.named.collections.bpo import Bpo
from mdpo_readers.named.collections.ha_dpo import HaDpo
from mdpo_readers.named.collections.hound import Hound
from mdpo_readers.named.collections.llava_rlhf import LlavaRlhf
from mdpo_readers.named.collections.mm_rlhf import MmRlhf
from mdpo_readers.named.collections.mmpr import Mmpr
from mdpo_readers.named.collections.povid import Povid
from mdpo_readers.named.collections.rlaif_v import RlaifV
from mdpo_readers.named.collections.rlhf_v import RlhfV
from mdpo_readers.named.collections.sentinel import Sentinel
from mdpo_readers.named.collections.seva import SeVa
from mdpo_readers.named.collections.vlfeedback import VLFeedback
from mdpo_readers.named.trainers.argilla import Argilla
from mdpo_readers.named.trainers.distilabel import Distilabel
from mdpo_readers.named.trainers.llamafactory import LlamaFactory
from mdpo_readers.named.trainers.openai import OpenAI
from mdpo_readers.named.trainers.swift import Swift
from mdpo_readers.named.trainers.trl import Trl
from mdpo_readers.pairs import Pairs
from mdpo_readers.video_reader import VideoReader
from mdpo_readers.videos.sampling import Sampling

__all__ = ["Pair", "Row", "Sampling", "TableReader", "VideoReader", "asked", "text"]


@hookimpl
def mdpo_components() -> Mapping[str, type[Component]]:
    return {
        "pairs": Pairs,
        "mixture": Mixture,
        "trl": Trl,
        "swift": Swift,
        "llamafactory": LlamaFactory,
        "rlaif_v": RlaifV,
        "rlhf_v": RlhfV,
        "vlfeedback": VLFeedback,
        "povid": Povid,
        "sentinel": Sentinel,
        "seva": SeVa,
        "mmpr": Mmpr,
        "align_anything": AlignAnything,
        "hound": Hound,
        "arena": Arena,
        "llava_rlhf": LlavaRlhf,
        "openai": OpenAI,
        "argilla": Argilla,
        "bpo": Bpo,
        "ha_dpo": HaDpo,
        "mm_rlhf": MmRlhf,
        "distilabel": Distilabel,
    }
