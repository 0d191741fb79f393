"""Saved runs on one self-contained page."""
