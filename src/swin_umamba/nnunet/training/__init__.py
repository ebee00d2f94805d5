"""The training loop, its inputs, and the step ``train``."""
