"""Judges of captions; they share no code with the rewards that train for them."""
