import csv
import math
from pathlib import Path

from repic.bench import record
from tests.unit.bench.test_figures import step

STEPS = [
    step("plain", 1, value="2", update_cpu_s=4.0),
    step("packed", 1, value="2", update_cpu_s=2.0),
    step("plain", 1, value="16", update_cpu_s=9.0, cpu_s=10.0),
    step("packed", 0, value="16", update_cpu_s=1.0),
]


def test_rows_are_added_below_one_header(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    for one in STEPS:
        record.append_step(path, one)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["contender"], row["value"]) for row in rows] == [
        ("plain", "2"),
        ("packed", "2"),
        ("plain", "16"),
        ("packed", "16"),
    ]
    assert float(rows[2]["cpu_s"]) == 10.0


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    plain, packed = record.cost_chart(STEPS, "group_size").lines
    assert (plain.label, plain.xs, plain.ys) == ("plain", [2.0, 16.0], [1.0, 10.0])
    assert packed.ys[0] == 1.0
    assert math.isnan(packed.ys[1])


def test_updates_stand_beside_what_they_could_be() -> None:
    packed, limit = record.update_chart(STEPS, "group_size", {"2": 1.9, "16": 9.0}).lines
    assert packed.ys[0] == 2.0
    assert limit.ys == [1.9, 9.0]
