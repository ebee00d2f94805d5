"""Compare networks on equal terms: their sizes, a training of each, and the significance of differences."""
