"""The verbs that need training: they reach `tokenfuse` by entry point."""
