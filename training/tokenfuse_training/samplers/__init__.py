"""How a step's pictures are shared out among the tasks."""
