"""Each guard is provoked in a small run on a random model that is sound but for one thing."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repic.phases.guards import RunStopped
from repic.rewards.judged import JudgedLanguage
from repic.rewards.language import LanguageReward
from repic.rewards.rubric import Rubric
from repic.rl.losses import grpo_loss
from repic.types import Example
from tests import tiny
from tests.judge_server import make_judge
from tests.modules import Recorder, Vowels, grpo, guard, guards
from tests.tiny import load


class Never:
    """A reward that applies to nothing; of its two components one has no weight."""

    components = ("wit", "charm")

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]:
        return dict.fromkeys(self.components, float("nan"))


class Length:
    components = ("length",)

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]:
        return {"length": float(len(caption))}


def stopped(folder: Path, **changes: Any) -> str:
    with pytest.raises(RunStopped) as stop:
        grpo(folder, **changes)
    return str(stop.value)


def test_a_policy_that_runs_away_is_stopped(folder: Path) -> None:
    quiet = {"max_kl": guard(1.0)}
    grpo(folder, guards=guards(**quiet))
    fast = partial(torch.optim.SGD, lr=50.0)
    said = stopped(folder, optimizer=fast, guards=guards(**quiet), iterations=4)
    assert said.startswith("grpo was stopped after iteration 2 of 4, and is saved up to there: the")
    assert "above phase.grpo.guards.max_kl.limit=1" in said
    assert said.endswith("the same command goes on from there")


def test_a_policy_that_collapses_is_stopped(folder: Path) -> None:
    """One that is driven far enough says one thing only."""
    floor = guards(min_entropy=guard(1.0))
    grpo(folder, guards=floor)
    fast = partial(torch.optim.SGD, lr=50.0)
    said = stopped(folder, optimizer=fast, kl_coef=0.0, guards=floor, iterations=12)
    assert "the policy's entropy was" in said
    assert "below phase.grpo.guards.min_entropy.limit=1" in said


def test_captions_that_grow_are_stopped(folder: Path) -> None:
    """The reward pays for length; captions end at a vowel, which can be avoided."""
    said = stopped(
        folder,
        rubric=Rubric({"length": Length()}, {"length": 1.0}),
        kl_coef=0.0,
        sampling=tiny.sampling(max_new_tokens=8, stop=tuple("aeiou ")),
        optimizer=partial(torch.optim.SGD, lr=2.0),
        guards=guards(max_length=guard(7.0, patience=2)),
        iterations=20,
    )
    found = re.match(r"grpo was stopped after iteration (\d+) of 20.* captions was (\S+) tok", said)
    assert found, said
    assert int(found[1]) > 2  # they were short at first
    assert float(found[2]) > 7
    assert "limit=7 for 2 iterations in a row" in said


class Sick:
    """An objective whose loss is not a number, though its gradient is, in some iterations."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.number = calls, 0

    def __call__(self, logprobs: Tensor, old: Any, *rest: Tensor) -> Any:
        self.number += 1
        result = grpo_loss(logprobs, old, *rest, clip_eps_low=0.2, clip_eps_high=0.2)
        sick = result.loss + torch.tensor(float("nan"))  # a constant: the gradient stays finite
        return result._replace(loss=sick) if self.number in self.calls else result


def flat(module: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.policy.trainable_parameters()])


def test_a_judge_that_is_down_stops_the_run_and_is_no_reward_of_0(folder: Path) -> None:
    """Nobody listens at port 1; the vowels are rewarded meanwhile."""
    judge = make_judge("http://127.0.0.1:1/v1")
    asked = LanguageReward(source=JudgedLanguage(judge=judge), tasks=["caption"])
    rubric = Rubric({"vowels": Vowels(), "asked": asked}, {"vowels": 1.0, "language": 1.0})
    limit = guards(max_failed_frac=guard(0.5, patience=2))
    recorder = Recorder()
    said = stopped(folder, rubric=rubric, guards=limit, iterations=4, monitor=recorder)
    assert said.startswith("grpo was stopped after iteration 2 of 4, and is saved up to there: the")
    assert "the share of captions that could not be judged (language" in said
    assert [row["grpo/failed_frac/language"] for row in recorder.rows] == [1.0, 1.0]
    for row in recorder.rows:
        assert "grpo/reward/language" not in row  # nothing was measured, which is not 0
        assert row["grpo/reward/total"] == pytest.approx(row["grpo/reward/vowels"], rel=1e-5)
        assert row["grpo/reward/vowels"] > 0
        assert row["judge/questions"] > 0


def test_an_own_reward_that_never_applies_is_told_and_stops_the_run(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repic.phases.grpo.LOOKED_AT", 2)
    recorder, never = Recorder(), guards(max_inapplicable_frac=guard(0.999, patience=3))
    rubric = Rubric({"vowels": Vowels(), "mine": Never()}, {"vowels": 1.0, "wit": 1.0})
    said = stopped(folder, rubric=rubric, guards=never, iterations=4, monitor=recorder)
    assert said.startswith("grpo was stopped after iteration 3 of 4")
    assert "to which a reward of your own does not apply (wit) was 1, above" in said
    told = "no caption of 2 iterations had a reward of: wit"
    assert [m for m in caplog.messages if "no caption" in m] == [told]
    shares = {k: v for k, v in recorder.rows[0].items() if "inapplicable" in k}
    assert shares == {"grpo/inapplicable_frac/vowels": 0, "grpo/inapplicable_frac/wit": 1}


def test_a_run_ends_in_vain_that_no_caption_of_all_had_an_own_reward(folder: Path) -> None:
    """However few iterations there are, and however often it is started again."""
    rubric = Rubric({"vowels": Vowels(), "mine": Never()}, {"vowels": 1.0, "wit": 1.0})
    patient = guards(max_inapplicable_frac=guard(0.999, patience=9))
    said = stopped(folder, rubric=rubric, guards=patient, iterations=2)
    assert "after iteration 2, its last: no caption had a reward of wit; what may help" in said
    module = grpo(folder, rubric=rubric)  # the guard is off
    object.__setattr__(module.settings, "guards", patient)
    with pytest.raises(RunStopped, match="no caption had a reward of wit"):
        module.load_extra_state(module.extra_state())


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is(folder: Path) -> None:
    start = torch.cat([p.detach().flatten() for p in load(folder).trainable_parameters()])
    module = grpo(folder, objective=Sick(1, 2))
    assert torch.equal(flat(module), start)
    rows = module.monitor.rows
    assert [row["skipped"] for row in rows] == [1, 2]
    assert [row["skipped_frac"] for row in rows] == [1, 1]
    assert all(row["grad_norm"] < float("inf") for row in rows)
    one = grpo(folder, objective=Sick(1), num_updates=2, iterations=1)
    assert one.monitor.rows[0]["skipped_frac"] == 0.5


def test_too_many_skipped_updates_in_a_row_stop(folder: Path) -> None:
    cap = guards(max_skipped_frac=guard(0.5, patience=2))
    grpo(folder, objective=Sick(1, 3), guards=cap, iterations=4)
    said = stopped(folder, objective=Sick(1, 3, 4), guards=cap, iterations=5)
    assert "after iteration 4 of 5" in said
    assert "updates without a finite loss and gradient was 1, above" in said


def test_logits_that_are_not_finite_stop_in_the_iteration_that_needs_them(folder: Path) -> None:
    """A rate so large that the first update leaves weights that no sum of products holds."""
    recorder = Recorder()
    huge = partial(torch.optim.SGD, lr=1e38)
    with pytest.raises(ValueError, match=r"^grpo was stopped in iteration 2 of 4: ") as stop:
        grpo(folder, optimizer=huge, iterations=4, monitor=recorder)
    assert not isinstance(stop.value, RunStopped)  # which would be saved
    said = str(stop.value)
    assert "logits of token 1 are NaN or infinite, though its weights are not" in said
    assert said.endswith("the same command goes on after iteration 0")
    assert recorder.rows[1:] == [{"not_finite_frac": 1.0}]


def test_cooling_slows_the_run_from_the_next_iteration_on(folder: Path) -> None:
    cool = guards(max_length=guard(0.0, patience=2, action="cool"), cool_lr=0.5, cool_kl=3.0)
    module = grpo(folder, guards=cool, iterations=5)
    rows = module.monitor.rows
    assert [row["lr"] for row in rows] == [0.5, 0.5, 0.25, 0.25, 0.125]
    assert [row["lr_factor"] for row in rows] == [1, 1, 0.5, 0.5, 0.25]
    assert [row["cooled"] for row in rows] == [0, 0, 1, 1, 2]
    assert [row["kl_coef"] for row in rows] == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.9])
    other = grpo(folder, guards=cool, iterations=1)
    other.load_extra_state(module.extra_state())
    assert other.kl_coef == pytest.approx(0.9)
    assert other.guard_state.numbers() == {"cooled": 2.0, "lr_factor": 0.25}
