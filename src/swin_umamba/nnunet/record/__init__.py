"""Records that a training writes about itself."""
