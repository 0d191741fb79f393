"""Under every shipped reward, who does not look earns less than who does; see ``stuffing``."""

import pytest

from tests.integration import stuffing

SCENES = 10


@pytest.mark.parametrize("config", stuffing.CONFIGS)
def test_under_every_shipped_reward_stuffing_earns_less_than_the_honest_caption(
    config: str,
) -> None:
    honest = stuffing.mean(config, "honest", SCENES)
    for policy in stuffing.POLICIES:
        stuffed = stuffing.mean(config, policy, SCENES)
        if (config, policy) in stuffing.KNOWN:
            # Really so: what a reward has come to punish leaves the list.
            assert stuffed >= honest - 1e-6, (config, policy)
        else:
            assert stuffed < 0.99 * honest, (config, policy)


def test_the_table_of_stuffing_is_complete() -> None:
    assert {config for config, _ in stuffing.KNOWN} <= set(stuffing.CONFIGS)
    assert {policy for _, policy in stuffing.KNOWN} <= set(stuffing.POLICIES)
    rows = [line for line in stuffing.table(SCENES).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(stuffing.POLICIES)
    assert {row.count("|") for row in rows} == {2 + len(stuffing.CONFIGS)}
    starred = [cell for row in rows for cell in row.split("|") if "*" in cell]
    assert len(starred) == len(stuffing.KNOWN)
    assert all(int(cell.replace("*", "")) >= 100 for cell in starred)
