"""Torch geometry of the skinned body, without learnable parameters."""
