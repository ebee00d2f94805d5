"""The confidence of a prediction."""
