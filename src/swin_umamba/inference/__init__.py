"""Prediction for arrays, files and folders."""
