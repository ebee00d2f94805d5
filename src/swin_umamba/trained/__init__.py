"""Trained models on disk: folders, files, archives, and their networks."""
