"""Animatable people from multi-view video (Neural Actor), on Ray and MLflow."""

from na_ray.version import __version__

__all__ = ["__version__"]
