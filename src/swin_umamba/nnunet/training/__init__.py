"""The loop, what it is given, and the step ``train``."""
