"""Modules that terms train beside the policy. Its files import torch: import them late."""
