"""Statistics: moments, token importance and Fisher information, collected in one pass over the original model."""
