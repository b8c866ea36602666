"""Repair: re-fitting of a pruned model, bottom-up and in closed form."""
