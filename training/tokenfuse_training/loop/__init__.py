"""The training loop: one trainer for every config, resumable at any step."""
