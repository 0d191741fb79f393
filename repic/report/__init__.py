"""Saved runs, read back: tables over runs, and one page for a run."""
