"""Samplers: how a step's pictures are shared out among the tasks of a stage."""
