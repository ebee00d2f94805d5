"""Reading and writing of images."""
