"""Loading: the sizes of a pruned model in its config, and the method by which transformers opens them."""
