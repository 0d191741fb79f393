"""Rewards of captions: raw components, one reward a file; the rubric weighs them."""
