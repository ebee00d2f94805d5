"""Operators: tensors in, tensors out. Nothing here knows ``nn.Module``."""
