"""Objects of an instance map: their table, their outlines, and the files that other programs read."""
