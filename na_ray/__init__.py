"""Animatable people from multi-view video (Neural Actor), on Ray and MLflow."""

__version__ = "0.2.0"
"""The one place that says it: packaging reads it from here."""
