"""Data: read files and make batches."""
