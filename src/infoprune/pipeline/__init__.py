"""Pipeline: the whole flow, from a model and inputs to a smaller model and its report."""
