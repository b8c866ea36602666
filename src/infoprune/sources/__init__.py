"""Sources: models and texts by their names on the Hugging Face Hub, as local folders and rows."""
