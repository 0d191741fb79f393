"""The loop that one reads is the one that a run does."""

from pathlib import Path

import pytest

from examples import grpo_loop
from repic.models.loading import find_model
from tests.integration.small import FEW, rows_of, start

SETTINGS = (
    "method=rl",
    "method.evaluated=[name_everybody]",
    "reward=recognition",
    "reward.rubric.weights.binding=0",
    "concepts.counts=[1,2]",
    f"phase.grpo.iterations={grpo_loop.ITERATIONS}",
    f"phase.grpo.prompts={grpo_loop.PROMPTS}",
    f"phase.grpo.group_size={grpo_loop.GROUP_SIZE}",
    f"phase.grpo.sampling.max_new_tokens={grpo_loop.SAMPLING.max_new_tokens}",
    "phase.grpo.micro_batch_tokens=16384",
    FEW,
)


def test_the_loop_of_the_example_is_a_run_s(tmp_path: Path) -> None:
    model = find_model("package://repic/models/tiny")
    rows = rows_of(start(model, tmp_path, *SETTINGS, letters=False))
    found = list(grpo_loop.train(grpo_loop.load_tiny()))
    assert len(rows) == len(found) == grpo_loop.ITERATIONS
    for row, numbers in zip(rows, found, strict=True):
        assert numbers["loss"] == row["grpo/loss"]
        assert numbers["grad_norm"] == row["grpo/grad_norm"]
        assert numbers["reward"] == pytest.approx(row["grpo/reward/recognition"], abs=1e-6)
    assert len({row["loss"] for row in found}) == len(found)


def test_it_fits_on_two_screens() -> None:
    assert len(Path(grpo_loop.__file__).read_text().splitlines()) <= 100
