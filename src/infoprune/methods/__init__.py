"""Methods: published ways to prune without training, each with its own criterion, division of a budget and repair."""
