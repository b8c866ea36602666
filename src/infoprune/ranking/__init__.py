"""Ranking: the order in which the units of a site go, and what each costs."""
