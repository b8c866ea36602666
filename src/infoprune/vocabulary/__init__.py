"""Vocabulary: tokens that texts never use leave model and tokenizer."""
