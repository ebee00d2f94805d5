"""Operators: tensors in, tensors out. This floor knows no ``nn.Module``."""
