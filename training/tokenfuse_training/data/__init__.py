"""Data sets: the generated scenes, and loaders of published formats."""
