"""Files: write results completely or not at all, and check JSON while reading it."""
