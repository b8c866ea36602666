"""Vocabulary: remove tokens that the texts never use from model and tokenizer."""
