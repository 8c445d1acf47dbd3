"""The names of options, here and in other trainers (TRL, transformers, LLaMA-Factory, ms-swift); wrong options."""
