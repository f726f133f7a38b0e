"""Recipes by name: YAML files that `config_file.read_config` reads."""
