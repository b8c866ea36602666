"""Structure: where the units of a model live."""
