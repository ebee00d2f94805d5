"""A web page and an HTTP API that segment images with a trained model, on this machine alone by default."""
