"""Scores of captions beside recognition, one metric a file; ``metric.py`` says what one is."""
