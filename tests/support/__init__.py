"""What tests share: builders of small real models and data, independent oracles, and processes."""
