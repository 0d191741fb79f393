"""RePIC's recipe, in small: four tasks at once on toys, and its own training file."""

from pathlib import Path

from tests import photos
from tests.integration.small import rows_of, start, summary_of


def test_four_tasks_are_trained_at_once(model: Path, tmp_path: Path) -> None:
    folder = start(
        model,
        tmp_path,
        "+experiment=repic_toybox",
        "phase.grpo.prompts=16",
        "phase.grpo.micro_batch_tokens=4096",
        letters=False,
    )
    assert [phase["phase"] for phase in summary_of(folder)["phases"]] == ["base", "grpo"]
    row = next(row for row in rows_of(folder) if row["phase"] == "grpo")
    for name in ("object_consistency", "localization", "single_identity", "characters"):
        assert f"grpo/reward/{name}" in row
    assert 0 <= row["grpo/condition_met_frac/single_identity"] <= 1


def test_the_published_training_file_is_trained_on(model: Path, tmp_path: Path) -> None:
    folder = start(
        model,
        tmp_path,
        "+experiment=repic_7b",
        "model=tiny",
        *photos.overrides(tmp_path / "photos"),
        "phase.grpo.prompts=4",
        "metrics.counts=[1]",
        letters=False,
    )
    row = next(row for row in rows_of(folder) if row["phase"] == "grpo")
    assert {key for key in row if key.startswith("grpo/reward/")} >= {
        f"grpo/reward/{name}"
        for name in (
            "object_consistency",
            "localization",
            "single_identity",
            "multi_identity",
        )
    }
    assert summary_of(folder)["metrics"]["grpo"]["1"]["num_examples"] == 2
