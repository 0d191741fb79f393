"""A page on which people work on an album; ``__main__`` serves it."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # names of this machine that no other has
