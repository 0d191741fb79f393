"""What GRPO's settings beside the plain algorithm do, on a random model."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repic import distributed
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.phases.grpo import GrpoModule
from repic.phases.resampling import ReplacementPrompts, ScoredGroups, dynamic_sampling
from repic.rewards.rubric import RewardBatch, Rubric
from repic.rl.advantages import AdvantageFunction, gdpo_advantages, group_advantages
from repic.rl.losses import grpo_loss
from repic.types import Rollout
from tests.modules import FIXED_KL, Vowels, examples, grpo
from tests.tiny import load


class Seen:
    """An objective that keeps what it was given."""

    def __init__(self) -> None:
        self.advantages: list[Tensor] = []
        self.weights: list[Tensor] = []

    def __call__(self, logprobs: Tensor, old: Any, advantages: Tensor, weights: Tensor) -> Any:
        self.advantages.append(advantages)
        self.weights.append(weights)
        return grpo_loss(logprobs, old, advantages, weights, clip_eps_low=0.2, clip_eps_high=0.2)


class CutOff(PlainEngine):
    """Says that every second caption was cut off, or all of them."""

    def __init__(self, *, every: int) -> None:
        super().__init__()
        self.every = every

    def sample(self, *args: Any, **options: Any) -> list[Rollout]:
        rollouts = super().sample(*args, **options)
        return [replace(r, finished=i % self.every != 0) for i, r in enumerate(rollouts)]


@pytest.mark.parametrize("aggregation", ["sequence_mean", "token_mean"])
def test_truncated_captions_are_no_part_of_the_loss(folder: Path, aggregation: str) -> None:
    seen = Seen()
    engine = CutOff(every=2)
    module = grpo(
        folder, engine=engine, objective=seen, mask_truncated=True, aggregation=aggregation
    )
    weights = seen.weights[0]
    assert weights[::2].eq(0).all()
    assert (weights[1::2].sum(dim=1) > 0).all()
    assert weights.sum().item() == pytest.approx(1)  # a mean over those that are left
    assert (seen.advantages[0][::2] != 0).any()  # they are compared with, all the same
    assert module.monitor.rows[0]["grpo/finished_frac"] == 0.5
    assert module.monitor.rows[0]["sampler_gap"] < 1e-4
    assert grpo(folder, engine=engine, objective=(kept := Seen())).monitor.rows[0]["kl"] == 0
    assert (kept.weights[0].sum(dim=1) > 0).all()


def test_nothing_is_learned_where_all_captions_are_cut_off(folder: Path) -> None:
    rows = grpo(folder, engine=CutOff(every=1), mask_truncated=True).monitor.rows
    for row in rows:
        assert row["loss"] == row["grad_norm"] == row["skipped"] == 0
        assert row["grpo/entropy"] > 0


def test_the_kl_can_stand_in_the_reward(folder: Path) -> None:
    in_reward = replace(FIXED_KL, in_reward=True)
    module = grpo(folder, kl_control=in_reward, kl_estimator="k1", kl_coef=0.5, num_updates=2)
    first, second = module.monitor.rows
    assert first["grpo/reward/kl"] == pytest.approx(0, abs=1e-4)  # nothing has moved yet
    assert abs(second["grpo/reward/kl"]) > 1e-2
    total = second["grpo/reward/vowels"] - 0.5 * second["grpo/reward/kl"]
    assert second["grpo/reward/total"] == pytest.approx(total, rel=1e-4)
    # The loss is the policy's alone: on-policy it is minus the mean advantage, which is 0.
    alone = grpo(folder, kl_control=in_reward, kl_coef=0.5)
    assert alone.monitor.rows[1]["loss"] == pytest.approx(0, abs=1e-5)
    assert alone.monitor.rows[1]["kl"] > 0
    assert grpo(folder, kl_coef=0.5).monitor.rows[1]["loss"] > 1e-3


def test_the_coefficient_is_steered_to_its_target(folder: Path) -> None:
    far = grpo(folder, kl_control=replace(FIXED_KL, target=1e-9), num_updates=2)
    assert far.monitor.rows[0]["kl_coef"] == 0.1
    assert far.monitor.rows[1]["kl_coef"] == pytest.approx(0.102)
    assert far.kl_coef == pytest.approx(0.10404)
    assert far.extra_state()["kl_coef"] == far.kl_coef
    near = grpo(folder, kl_control=replace(FIXED_KL, target=1e9))
    assert near.kl_coef == pytest.approx(0.1 * 0.98**2)
    assert grpo(folder).kl_coef == 0.1


class Referred(PlainEngine):
    """Keeps what the reference's weights are whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[Tensor] = []

    def reference_logprobs(self, policy: Policy, rollouts: Any) -> Tensor:
        self.references.append(flat(policy.reference_weights()))
        return super().reference_logprobs(policy, rollouts)


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten() for value in weights.values()])


def trained(module: GrpoModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.policy.trainable_parameters()])


def test_the_reference_is_refreshed(folder: Path) -> None:
    engine = Referred()
    control = replace(FIXED_KL, refresh_every=2)
    module = grpo(folder, engine=engine, kl_control=control, iterations=4)
    first, second, third, fourth = engine.references
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(third, fourth)
    assert module.monitor.rows[2]["kl"] == 0  # to itself
    assert module.monitor.rows[3]["kl"] > 0
    # What is kept to resume from is the reference, and not the policy.
    kept = module.extra_state()["reference"]
    assert torch.equal(flat(kept), fourth)
    assert not torch.equal(flat(kept), trained(module))


def test_the_reference_is_restored(folder: Path) -> None:
    module = grpo(folder, kl_control=replace(FIXED_KL, refresh_every=2), iterations=3)
    state = {**module.extra_state(), "kl_coef": 0.3}
    kept = {**state, "reference": {k: v.clone() for k, v in state["reference"].items()}}
    other = grpo(folder, kl_control=replace(FIXED_KL, refresh_every=2), iterations=1)
    assert not torch.equal(flat(other.policy.reference_weights()), flat(kept["reference"]))
    other.load_extra_state(kept)
    assert torch.equal(flat(other.policy.reference_weights()), flat(kept["reference"]))
    assert other.kl_coef == 0.3
    assert other.policy.reference_weights().keys() == kept["reference"].keys()


def test_without_refreshes_no_reference_is_kept(folder: Path) -> None:
    policy = load(folder)
    assert policy.reference_weights() == {}
    assert grpo(folder).extra_state().keys() == {"num_skipped", "guards"}


class Numbered:
    """Depends on the prompt alone for ids with a prefix: no group of those has a signal."""

    components = ("number", "vowels")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, caption: str, example: Any) -> dict[str, float]:
        if example.id.startswith(self.prefix):
            return {"number": float(len(example.id)), "vowels": 0.0}
        return {"number": 0.0, **Vowels()(caption, example)}


def spare(attempts: int) -> ReplacementPrompts:
    fresh = [replace(e, id=f"spare{i}") for i, e in enumerate(examples() * attempts * 2)]
    return ReplacementPrompts(examples=fresh, prompts=4, attempts=attempts, seed=0)


def test_groups_without_signal_are_replaced(folder: Path) -> None:
    rubric = Rubric({"numbered": Numbered("e")}, {"number": 1.0, "vowels": 1.0})
    drawn: list[list[str]] = []

    class Listed(PlainEngine):
        def sample(self, policy: Any, given: Any, **options: Any) -> Any:
            drawn.append([e.id for e in given])
            return super().sample(policy, given, **options)

    rows = grpo(folder, rubric=rubric, engine=Listed(), replacements=spare(3)).monitor.rows
    # All four of the iteration's own are without signal, the spare ones almost never.
    assert drawn[0] == ["e0", "e1", "e2", "e3"]
    assert drawn[1] == ["spare0", "spare1", "spare2", "spare3"]
    assert ["spare12", "spare13", "spare14", "spare15"] in drawn  # the second iteration's
    for row in rows:
        assert row["grpo/resampled_groups"] >= 1
        assert row["grpo/resample_attempts"] >= 1
        assert row["grpo/zero_signal_frac"] == row["grpo/zero_variance_frac/vector"]
        assert row["grpo/reward/vowels"] > 0
    without = grpo(folder, rubric=rubric).monitor.rows[0]
    assert without["grpo/zero_variance_frac/vector"] == 1
    assert "grpo/zero_signal_frac" not in without


def test_replacing_groups_leaves_the_first_ones_as_they_were() -> None:
    nowhere = torch.zeros(3, 2, 1, dtype=torch.bool)
    first = ScoredGroups([[], [], []], torch.zeros(3, 2, 1), failed=nowhere)
    found = first.replaced([1], ScoredGroups([[]], torch.ones(1, 2, 1), failed=~nowhere[:1]))
    assert found.rewards.sum(dim=(1, 2)).tolist() == [0, 2, 0]
    assert found.failed is not None
    assert found.failed.sum(dim=(1, 2)).tolist() == [0, 2, 0]
    assert first.rewards.eq(0).all()
    assert not nowhere.any()


def test_attempts_are_limited(folder: Path) -> None:
    rubric = Rubric({"numbered": Numbered("")}, {"number": 1.0, "vowels": 1.0})
    rows = grpo(folder, rubric=rubric, replacements=spare(2)).monitor.rows
    for row in rows:
        assert row["grpo/resample_attempts"] == 2
        assert row["grpo/resampled_groups"] == 2
        assert row["grpo/zero_signal_frac"] == 1


GRPO = partial(group_advantages, normalize_std=True, eps=1e-4)
GDPO = partial(gdpo_advantages, is_whitened=True, min_std=0.0, eps=1e-4)


@pytest.mark.parametrize(
    ("advantages", "weight", "has_signal"),
    [
        (GRPO, 1.0, False),  # equal totals
        (GRPO, 2.0, True),
        (GDPO, 1.0, False),  # what one gains the other loses
        (GDPO, 2.0, True),
        (lambda rewards, weights: rewards[..., 0] * 0, 2.0, False),  # somebody's own
    ],
)
def test_the_advantages_say_which_groups_have_a_signal(
    folder: Path, advantages: AdvantageFunction, weight: float, has_signal: bool
) -> None:
    class Opposed:
        components = ("vowels", "others")

        def __call__(self, caption: str, example: Any) -> dict[str, float]:
            share = Vowels()(caption, example)["vowels"]
            return {"vowels": share, "others": 1 - share}

    rubric = Rubric({"opposed": Opposed()}, {"vowels": 1.0, "others": weight})
    changes = {"advantages": advantages, "rubric": rubric, "iterations": 1}
    row = grpo(folder, replacements=spare(1), **changes).monitor.rows[0]
    assert row["grpo/zero_variance_frac/vector"] < 0.5
    assert (row["grpo/zero_signal_frac"] < 0.5) == has_signal
    assert (row["grpo/resampled_groups"] < 0.5) == has_signal


def test_ranks_resample_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the prompts that one process would put in those places."""
    # Prompts 0 and 2 of four are without signal, then prompt 2, then none.
    rounds = [[True, False, True, False], [False, False, True, False], [False] * 4]

    def on_rank(rank: int, ranks: int) -> tuple[list[list[str]], ScoredGroups]:
        todo, drawn = list(rounds), []
        monkeypatch.setattr(distributed, "world_size", lambda: ranks)
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "gather", lambda mine: todo.pop(0))
        count = 4 // ranks

        def sample(given: list[Any], attempt: int) -> ScoredGroups:
            drawn.append([e.id for e in given])
            return ScoredGroups([[] for _ in given], torch.ones(len(given), 2, 1))

        scored = ScoredGroups([[] for _ in range(count)], torch.zeros(count, 2, 1))
        lively = torch.ones(count, dtype=torch.bool)
        return drawn, dynamic_sampling(scored, sample, lambda rewards: lively, spare(3), 0)

    drawn, alone = on_rank(0, 1)
    assert drawn == [["spare0", "spare1"], ["spare4"]]
    assert alone.numbers["grpo/resample_attempts"] == 2
    assert alone.numbers["grpo/resampled_groups"] == 3 / 4
    first, found = on_rank(0, 2)
    assert first == drawn  # it has prompts 0 and 2
    assert found.numbers == alone.numbers
    second, found = on_rank(1, 2)
    assert second == []  # goes round with the other one, and samples nothing
    assert found.numbers == alone.numbers


def test_spare_prompts_follow_from_the_iteration() -> None:
    def ids(iteration: int, attempt: int, *numbers: int) -> list[str]:
        return [e.id for e in spare(3).take(iteration, attempt, numbers)]

    assert ids(0, 1, 0, 1) == ["spare0", "spare1"]
    assert ids(0, 2, 0, 2) == ["spare4", "spare6"]
    assert ids(1, 1, 0, 3) == ["spare12", "spare15"]


def test_a_condition_reaches_the_advantages(folder: Path) -> None:
    seen = Seen()
    conditions = {"c": {"component": "vowels", "given": "number", "at_least": 1.0}}
    rubric = Rubric({"numbered": Numbered("x")}, {"vowels": 1.0}, conditions)  # number is always 0
    module = grpo(folder, rubric=rubric, objective=seen)
    assert seen.advantages[0].eq(0).all()
    row = module.monitor.rows[0]
    assert row["grpo/condition_met_frac/vowels"] == 0
    assert row["grpo/raw_reward/vowels"] > row["grpo/reward/vowels"] == 0


class Surprise:
    """A reward of what the reference makes of a caption."""

    components = ("surprise",)
    needs_reference = True

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def score(self, rollouts, logprobs):
        self.seen += list(logprobs)
        values = torch.tensor([-row.mean().item() for row in logprobs])
        return RewardBatch(self.components, values[:, None])


def test_a_reward_may_ask_the_reference_and_nothing_is_computed_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    plain = PlainEngine.reference_logprobs

    def counted(self, policy, rollouts):
        calls.append(len(rollouts))
        return plain(self, policy, rollouts)

    monkeypatch.setattr(PlainEngine, "reference_logprobs", counted)
    reward = Surprise()
    rubric = Rubric({"s": reward}, {"surprise": 1.0})
    module = grpo(folder, rubric=rubric, kl_coef=0.1, iterations=1)
    assert sum(calls) == 12  # once each, for the reward and for the KL
    # Before the first update the reference is the policy: what it says is what the sampler said.
    assert module.monitor.rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert len(reward.seen) == 12
    again = Surprise()
    grpo(folder, rubric=Rubric({"s": again}, {"surprise": 1.0}), kl_coef=0.0, iterations=1)
    for one, other in zip(reward.seen, again.seen, strict=True):
        torch.testing.assert_close(one, other)


def test_failures_of_a_reward_are_logged(folder: Path) -> None:
    class Broken:
        components = ("judged",)

        def score(self, rollouts):
            failed = torch.arange(len(rollouts))[:, None] % 3 == 0
            values = torch.where(failed, torch.nan, 1.0)
            return RewardBatch(self.components, values, failed)

        def take_counts(self):
            return {"questions": 12.0}

    rubric = Rubric({"vowels": Vowels(), "b": Broken()}, {"vowels": 1.0, "judged": 1.0})
    row = grpo(folder, rubric=rubric, iterations=1).monitor.rows[0]
    assert row["grpo/failed_frac/judged"] == pytest.approx(1 / 3)
    assert row["grpo/reward/judged"] == 1.0
    assert row["judge/questions"] == 12
