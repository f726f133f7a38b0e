"""Exporters of tokenfuse models: `to_onnx`."""
