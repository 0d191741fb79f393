"""Seeds that are counted, not carried: everything random follows from (seed, purpose, counter).

So an interrupted phase needs no saved generator state to go on exactly as it would have.
"""

import hashlib


def stream_seed(seed: int, *keys: str | int) -> int:
    """Derive a seed for one purpose and moment.

    Args:
        seed: the run's seed.
        keys: what it is for and which one it is, for example ``"grpo", iteration``.

    Returns:
        A number in [0, 2^63), the same on every machine; other keys give unrelated numbers.

    Example:
        >>> stream_seed(0, "grpo", 1) == stream_seed(0, "grpo", 1)
        True
        >>> stream_seed(0, "grpo", 1) == stream_seed(0, "grpo", 2)
        False
    """
    text = "/".join(map(str, (seed, *keys)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
