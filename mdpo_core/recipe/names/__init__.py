"""What other trainers (TRL, transformers, LLaMA-Factory, ms-swift) call the options of a recipe."""
