"""The embedded world: plush toys in scenes, with the exact truth about every picture."""
