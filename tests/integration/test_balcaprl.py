"""BalCapRL on toys, in seconds."""

from pathlib import Path

from repic.metrics.caption_files import read_predictions
from tests.integration.small import FEW, rows_of, start, summary_of


def test_balanced_rewards_from_the_base_model(model: Path, tmp_path: Path) -> None:
    small = (FEW, "metrics.counts=[1]")
    folder = start(model, tmp_path, "+experiment=balcaprl_toybox", *small, letters=False)
    summary = summary_of(folder)
    assert [phase["phase"] for phase in summary["phases"]] == ["base", "grpo"]
    assert list(summary["metrics"]) == ["base", "name_everybody", "grpo"]
    row = rows_of(folder)[-1]
    for name in ("precision", "recall", "language", "language_clarity", "length_ratio", "tokens"):
        assert f"grpo/reward/{name}" in row
    assert 0 <= row["grpo/condition_met_frac/language"] <= 1
    assert row["grpo/raw_reward/language"] >= row["grpo/reward/language"] >= 0
    by_phase = {p.phase: p.rewards for p in read_predictions(folder)}
    assert by_phase["name_everybody"]["tokens"] is None  # no model wrote it
    assert by_phase["grpo"]["tokens"] is not None
    assert by_phase["name_everybody"]["precision"] == 0.0
