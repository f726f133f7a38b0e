"""The training loop and what it runs on: ranks, optimizer, checkpoints, log."""
