import math

from repic.bench.results import cost_chart, cost_table, parts_table, update_chart
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


SWEPT = [
    step("plain", 1, value="2", update_cpu_s=4.0),
    step("packed", 1, value="2", update_cpu_s=2.0),
    step("plain", 1, value="16", update_cpu_s=9.0, cpu_s=10.0),
    step("packed", 0, value="16", update_cpu_s=1.0),
]


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    plain, packed = cost_chart(SWEPT, "group_size").lines
    assert (plain.label, plain.xs, plain.ys) == ("plain", [2.0, 16.0], [1.0, 10.0])
    assert packed.ys[0] == 1.0
    assert math.isnan(packed.ys[1])


def test_updates_stand_beside_what_they_could_be() -> None:
    packed, limit = update_chart(SWEPT, "group_size", {"2": 1.9, "16": 9.0}).lines
    assert packed.ys[0] == 2.0
    assert limit.ys == [1.9, 9.0]
