"""What graphics cards can do at most, and how much of it was used."""

import re

# Dense peak of the tensor cores in bfloat16, with sums in float32, in 10¹² operations per second.
# Data sheets print the double, "with sparsity", from the Hopper and Ada generations on: halved.
# Names are those that torch.cuda.get_device_name() gives, without "NVIDIA" and "GeForce"; a name
# has to match in full, since "A10G", "4090 D", a laptop's card and a MIG slice are other devices.
_PEAKS = (
    (r"A100-(SXM4|PCIE|PG509)-\d+GB|A100 80GB PCIe", 312.0),  # NVIDIA A100 data sheet
    (r"A30", 165.0),  # NVIDIA A30 data sheet
    (r"A40", 149.7),  # NVIDIA A40 data sheet
    (r"A10", 125.0),  # NVIDIA A10 data sheet
    (r"RTX A6000", 154.8),  # NVIDIA GA102 white paper, appendix
    (r"RTX 3090", 71.0),  # NVIDIA GA102 white paper, appendix A
    (r"L4", 121.0),  # NVIDIA L4 data sheet: 242 with sparsity
    (r"L40", 181.05),  # NVIDIA L40 data sheet
    (r"L40S", 362.05),  # NVIDIA L40S data sheet
    (r"RTX 6000 Ada Generation", 364.2),  # NVIDIA Ada white paper, appendix
    (r"RTX 4090", 165.2),  # NVIDIA Ada white paper, appendix A
    (r"H100 PCIe", 756.5),  # NVIDIA H100 data sheet: 1,513 with sparsity
    (r"H100 NVL", 835.5),  # NVIDIA H100 data sheet: 1,671 with sparsity
    (r"H100 80GB HBM3|H100 SXM5 \d+GB", 989.5),  # NVIDIA H100 data sheet: 1,979 with sparsity
    (r"GH200 \d+GB", 989.5),  # NVIDIA GH200 data sheet: 1,979 with sparsity
    (r"H200", 989.5),  # NVIDIA H200 data sheet: 1,979 with sparsity
    (r"H200 NVL", 835.5),  # NVIDIA H200 data sheet: 1,671 with sparsity
    (r"B200", 2250.0),  # NVIDIA HGX B200 data sheet: 36,000 with sparsity for eight
)


def peak_flops(device_name: str, dtype: str) -> float | None:
    """Operations per second that a device could do at most, in dense matrix products.

    Args:
        device_name: as ``torch.cuda.get_device_name()`` returns it.
        dtype: "bfloat16" or "float16", which are equally fast on the cards that are known.

    Returns:
        None for other devices and other precisions (float32's depends on TF32 being allowed):
        better no utilization than a wrong one.

    Example:
        >>> peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16")
        312000000000000.0
        >>> peak_flops("cpu", "bfloat16")
    """
    if dtype not in ("bfloat16", "float16"):
        return None
    name = re.sub(r"^(NVIDIA )?(GeForce )?", "", device_name.strip())
    found = [peak for pattern, peak in _PEAKS if re.fullmatch(pattern, name)]
    return found[0] * 1e12 if found else None


def utilization(model_flops: int | float, seconds: float, peak: float | None) -> float | None:
    """Model FLOPs utilization (MFU), a fraction; PaLM, https://arxiv.org/abs/2204.02311, app. B.

    By model FLOPs: what gradient checkpointing computes again is not in the numerator.

    Args:
        model_flops: of all devices together, see ``Flops.model``.
        seconds: that they took.
        peak: operations per second of all devices together; None where it is not known.
    """
    return None if peak is None else model_flops / seconds / peak
