"""Verbs of the command `tokenfuse` that export, build and verify."""
