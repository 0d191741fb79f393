"""A page on which people work on an album; ``__main__`` serves it."""
