"""Training and evaluation of tokenfuse models; needs the `train` extra."""
