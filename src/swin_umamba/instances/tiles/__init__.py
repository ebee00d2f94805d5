"""The objects of a label map of any size, tile by tile: those of the whole map, however it is divided."""
