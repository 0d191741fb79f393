"""Seeds that are counted, not carried: everything random follows from (seed, purpose, counter).

So an interrupted phase needs no saved generator state to go on exactly as it would have.
"""

import hashlib

import torch


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


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed what torch draws on the CPU and on a device.

    ``torch.manual_seed`` does it for all devices there might be, and takes longer than some
    forward passes where there is no GPU.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
