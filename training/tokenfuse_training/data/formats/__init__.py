"""Loaders of published formats: a record is one picture with all that is said about it."""
