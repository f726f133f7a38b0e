"""Exporters of tokenfuse models; they arrive with the export commands."""
