"""Training a VMamba-Tiny classifier, whose encoder the networks can start from."""
