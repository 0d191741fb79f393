from repic.bench.tables import cost_table, parts_table
from tests.unit.bench.test_figures import step
from tests.unit.tables.test_write import shown

STEPS = [
    *(step("plain", n, cpu_s=s, update_cpu_s=6.0) for n, s in enumerate([50.0, 1.0, 2.0, 4.0])),
    *(step("packed", n, cpu_s=0.5, update_cpu_s=1.5) for n in range(4)),
    *(step("trl", n, cpu_s=9.0, update_cpu_s=12.0, peak_mib=2030.0 + 10 * n) for n in range(3)),
]


def test_costs_are_medians_with_their_range_and_compared_with_the_first() -> None:
    text = shown(cost_table("bench a", STEPS))
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert rows["plain"] == ["plain", "3", "2.00", "2.00", "300", "1.00", "1.00"]
    assert rows["packed"] == ["packed", "3", "0.500", "2.00", "300", "0.250", "1.00"]
    assert rows["trl"] == ["trl", "2", "9.00", "2.00", "2,050", "4.50", "1.00"]
    assert "[1.00–4.00]" in text


def test_updates_are_compared_with_the_limit() -> None:
    text = shown(parts_table(STEPS, limit=5.0))
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert rows["plain"] == ["plain", "0.250", "6.00", "1.00"]
    assert rows["packed"] == ["packed", "0.250", "1.50", "4.00", "80", "%"]
    assert rows["trl"] == ["trl", "0.250", "12.0", "0.500"]  # the limit is not its to reach
    assert "5.00 times fewer" in " ".join(text.split())


def test_one_who_died_in_the_warm_up_has_no_numbers() -> None:
    text = shown(cost_table("bench a", [*STEPS, step("other", 0)]))
    (row,) = (line.split() for line in text.splitlines() if "other" in line)
    assert row == ["other", "0", "–", "–", "–", "–", "–"]
