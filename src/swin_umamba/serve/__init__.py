"""A web page and an HTTP API that segment images with a trained model, by default for this machine only."""
