"""The splats' stage."""
