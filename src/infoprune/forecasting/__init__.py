"""Forecasting: the memory and time of a prune, before any weight is read."""
