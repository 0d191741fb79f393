"""Real datasets, prompts and the loaders that feed the phases."""
