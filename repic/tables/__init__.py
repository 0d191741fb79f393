"""Saved runs, read back and compared in tables."""
