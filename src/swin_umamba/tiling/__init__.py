"""Predicting an image in tiles: where they lie, what is summed of them, and by which networks."""
