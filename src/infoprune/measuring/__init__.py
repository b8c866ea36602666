"""Measuring: parameters, FLOPs and time on this machine."""
