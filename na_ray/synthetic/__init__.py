"""A person made from nothing: figure, clothes, motion and cameras, written as a capture in the published layout."""
