"""How many examples of a property are tried."""

from hypothesis import settings


def at_most(examples: int) -> settings:
    """Try fewer examples of what is slow; never more than the profile says."""
    return settings(max_examples=min(examples, settings.default.max_examples))
