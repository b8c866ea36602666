"""Structure: the units of a model, and the modules that write and read them."""
