"""Whoever writes captions: a model, naming everybody, files of captions that exist."""
