"""Statistics: what one pass over the dense model gathers."""
