"""Mixtures of experts: how evenly tokens go to them."""
