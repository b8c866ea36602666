"""Tasks: what models are for, and how good they are at it."""
