"""Ranking: the order in which the units of a site are removed, and the loss of each removal."""
