"""Predict images of any size block by block, by any number of processes, with the labels of the whole."""
