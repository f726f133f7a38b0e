"""Tasks: what is asked of a record, as a prompt and its right answers."""
