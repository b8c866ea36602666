"""llama.cpp: language models as GGUF files."""
