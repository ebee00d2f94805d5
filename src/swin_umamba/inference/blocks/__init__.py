"""Predicting an image in blocks: where the tiles lie, and what is summed of them."""
