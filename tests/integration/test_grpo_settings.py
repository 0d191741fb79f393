"""Settings of GRPO that cannot work, and those that only look like it, before anything is done."""

from pathlib import Path

import pytest
from torch import Tensor

from tests.integration.small import compose_run
from tests.integration.test_compose import assemble


def check(tmp_path: Path, *overrides: str) -> None:
    cfg, _ = compose_run("method=repic", "debug=fast", f"outputs={tmp_path}", *overrides)
    parts = assemble(cfg, tmp_path)
    parts.phases["grpo"].check(parts.context)


REFUSED = {
    "phase.grpo.group_size=1": "a group of one has no siblings",
    "phase.grpo.group_size=1 advantage=gdpo": "a group of one has no siblings",
    "phase.grpo.group_size=1 phase.grpo.prompts=1 advantage=reinforce_pp": "batch of one rollout",
    "loss=reinforce phase.grpo.num_updates=2": "num_updates=1",
    "kl=none kl.target=0.1": "cannot leave 0",
    "kl.estimator=k4": "'k4' is not one of",
    "loss.aggregation=sum": "'sum' is not one of",
    f"loss=reinforce loss.objective._target_={__name__}.plain_loss": "returns no repic.rl.losses.P",
    "kl.refresh_every=5 model.lora={r:4,alpha:8,dropout:0.0}": "with adapters the reference is",
    "+reward.rubric.conditions.c={component:cider,given:beauty,at_least:1}": "yields 'beauty'",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_work_is_refused(overrides: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=REFUSED[overrides]):
        check(tmp_path, *overrides.split())


@pytest.mark.parametrize(
    "overrides",
    [
        "advantage=reinforce_pp phase.grpo.group_size=1",
        "advantage=c_gdpo loss=gspo kl=adaptive kl.in_reward=true phase.grpo.num_updates=2",
        "loss=dapo kl=none phase.grpo.resample_attempts=3",
        "loss=reinforce kl=straight_through kl.refresh_every=5",
        "+reward.rubric.conditions.c={component:fluency,given:cider,at_least:0.5} loss=cispo",
    ],
)
def test_what_can_work_is_not(overrides: str, tmp_path: Path) -> None:
    check(tmp_path, *overrides.split())


def plain_loss(logprobs: Tensor, old: Tensor | None, values: Tensor, weights: Tensor) -> Tensor:
    """Somebody's own, which does not say how much was clipped."""
    return -(logprobs * values[:, None] * weights).sum()


def plain_advantages(rewards: Tensor, weights: Tensor) -> Tensor:
    """Somebody's own, as simple as can be."""
    totals = rewards.nan_to_num() @ weights
    return totals - totals.mean(dim=1, keepdim=True)


def test_a_plain_function_of_advantages_will_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = "advantage._target_=tests.integration.test_grpo_settings.plain_advantages"
    with caplog.at_level("INFO"):
        check(tmp_path, own, "~advantage.normalize_std", "~advantage.eps")
    assert "does not say what each component adds" in caplog.text
