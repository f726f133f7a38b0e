"""A run as frozen data: what may be set, and how it is read from YAML and `--set`."""
