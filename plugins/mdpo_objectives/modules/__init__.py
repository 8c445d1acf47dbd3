"""Modules that terms train with the policy. The files import torch: import them inside functions."""
