"""Budgets: what sizes cost, and how many units every site keeps."""
