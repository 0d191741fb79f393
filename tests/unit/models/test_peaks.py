import pytest

from repic.models.peaks import peak_flops, utilization


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA B200", 2250),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L4", 121),
        ("NVIDIA A40", 149.7),
        ("NVIDIA A10", 125),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("Tesla T4", None),
        ("cpu", None),
    ],
)
def test_peaks_are_known_by_full_name_only(name: str, tera: float | None) -> None:
    peak = peak_flops(name, "bfloat16")
    assert peak == (None if tera is None else pytest.approx(tera * 1e12))
    assert peak_flops(name, "float16") == peak
    assert peak_flops(name, "float32") is None


def test_utilization() -> None:
    assert utilization(312e12, 2.0, peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16")) == 0.5
    assert utilization(312e12, 2.0, None) is None
