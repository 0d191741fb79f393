import contextlib
import math
import re
import signal
import time

import pytest
import torch

from repic.rewards.rubric import RewardBatch, Rubric
from repic.signals import Stopped
from repic.types import Example, Rollout

NAN = float("nan")


class Fixed:
    """A reward that yields the same numbers for every caption."""

    def __init__(self, **parts: float) -> None:
        self.parts, self.components = parts, tuple(parts)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        return self.parts


class Length:
    components = ("length", "is_empty")

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        # In another order than `components`, which decides.
        return {"is_empty": float(not caption), "length": float(len(caption))}


def make_rollout(text: str) -> Rollout:
    example = Example("x7", "caption", (), None, "", "", (), (), 1)
    return Rollout(example, text, torch.zeros(1, dtype=torch.long), torch.zeros(1), True)


def test_scores_by_hand() -> None:
    rubric = Rubric(
        {"a": Length(), "b": Fixed(speed=NAN, charm=-2.0)}, {"length": 0.5, "charm": 2.0}
    )
    assert rubric.names == ("length", "is_empty", "speed", "charm")
    assert rubric.weights.tolist() == [0.5, 0.0, 0.0, 2.0]
    batch = rubric.score([make_rollout("abc"), make_rollout("")])
    assert batch.names == rubric.names
    expected = torch.tensor([[3.0, 0.0, NAN, -2.0], [0.0, 1.0, NAN, -2.0]])
    torch.testing.assert_close(batch.values, expected, equal_nan=True)
    torch.testing.assert_close(batch.totals(rubric.weights), torch.tensor([-2.5, -4.0]))


def test_no_rollouts_have_no_scores() -> None:
    assert Rubric({"a": Length()}, {}).score([]).values.shape == (0, 2)


def test_a_component_that_does_not_apply_takes_no_part_in_the_total() -> None:
    batch = RewardBatch(("a", "b"), torch.tensor([[1.0, NAN], [NAN, NAN], [1.0, 2.0]]))
    assert batch.totals(torch.tensor([3.0, 1.0])).tolist() == [3.0, 0.0, 5.0]


def test_the_breakdown_is_raw_and_fit_for_json() -> None:
    batch = RewardBatch(("a", "b"), torch.tensor([[0.0, 0.0], [0.5, NAN]]))
    assert batch.breakdown(1) == {"a": 0.5, "b": None}


def test_no_rollouts() -> None:
    assert Rubric({"a": Length()}, {}).score([]).values.shape == (0, 2)


def test_a_weight_for_what_nobody_yields_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"reward\.rubric\.weights\.lenght: no reward .* length, is_empty"
    ):
        Rubric({"a": Length()}, {"lenght": 1.0})


def test_a_component_that_two_rewards_yield_is_named() -> None:
    with pytest.raises(ValueError, match="'length' is yielded twice"):
        Rubric({"a": Length(), "b": Fixed(length=1.0)}, {})


def test_no_component_may_be_called_as_the_sum_is() -> None:
    with pytest.raises(ValueError, match="'total'"):
        Rubric({"a": Fixed(total=1.0)}, {})


def test_a_reward_that_breaks_its_word_is_found_out() -> None:
    liar = Fixed(a=1.0)
    liar.components = ("a", "b")
    with pytest.raises(ValueError, match=r"reward liar yields a, not a, b$"):
        Rubric({"liar": liar}, {}).score([make_rollout("")])


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39])
def test_a_number_that_is_infinite_in_float32_is_named(value: float) -> None:
    said = rf"^reward mine yields {re.escape(repr(value))} as charm of x7 \('hi'\); it should be"
    with pytest.raises(ValueError, match=said):
        Rubric({"mine": Fixed(wit=1.0, charm=value)}, {}).score([make_rollout("hi")])


class Raises:
    """Somebody's own reward, which does not return."""

    components = ("wit",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), RuntimeError("0"), ValueError()])
def test_an_own_reward_that_raises_is_named(error: BaseException) -> None:
    said = rf"^reward mine raised {type(error).__name__}"
    with pytest.raises(ValueError, match=said):
        Rubric({"mine": Raises(error)}, {}).score([make_rollout("hi")])
    for asked in (KeyboardInterrupt(), Stopped(signal.SIGTERM)):  # of us, and no fault of its own
        with pytest.raises(type(asked)):
            Rubric({"mine": Raises(asked)}, {}).score([make_rollout("hi")])


class Sleeps:
    components = ("wit",)

    def __call__(self, caption: str, example: Example) -> dict[str, float]:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(60)


def test_an_own_reward_has_its_time() -> None:
    rubric = Rubric({"mine": Sleeps()}, {}, seconds=0.05)
    begun, around = time.monotonic(), signal.getitimer(signal.ITIMER_REAL)
    with pytest.raises(ValueError, match=r"^reward mine took longer than .*seconds=0.05 for 1"):
        rubric.score([make_rollout("hi")])
    assert time.monotonic() - begun < 10
    # The test's own limit goes on.
    assert signal.getitimer(signal.ITIMER_REAL) == pytest.approx(around, abs=10)
    assert Rubric({"mine": Length()}, {}, seconds=9.0).own == ("length", "is_empty")


def test_the_caller_cannot_change_the_rubric_afterwards() -> None:
    rewards = {"a": Length()}
    rubric = Rubric(rewards, {"length": 1.0})
    rewards.clear()
    assert rubric.score([make_rollout("ab")]).values.tolist() == [[2.0, 0.0]]


class Together:
    """A reward of the whole batch; it fails for captions that say so."""

    components = ("share", "rank")

    def score(self, rollouts):
        total = sum(len(r.text) for r in rollouts)
        values = torch.tensor([[len(r.text) / total, float(i)] for i, r in enumerate(rollouts)])
        failed = torch.tensor([[r.text == "fail", False] for r in rollouts])
        return RewardBatch(self.components, values.masked_fill(failed, NAN), failed)


class Surprise:
    components = ("surprise",)
    needs_reference = True

    def score(self, rollouts, logprobs):
        values = (
            [NAN] * len(rollouts) if logprobs is None else [-row.sum().item() for row in logprobs]
        )
        return RewardBatch(self.components, torch.tensor(values)[:, None])


def test_rewards_that_score_rollouts_together() -> None:
    rubric = Rubric({"each": Length(), "batch": Together()}, {"share": 1.0})
    assert not rubric.needs_reference
    batch = rubric.score([make_rollout("abcd"), make_rollout("fail")])
    expected = torch.tensor([[4.0, 0.0, 0.5, 0.0], [4.0, 0.0, NAN, 1.0]])
    torch.testing.assert_close(batch.values, expected, equal_nan=True)
    assert batch.failures() == {"share": 0.5, "rank": 0.0}
    assert batch.totals(rubric.weights).tolist() == [0.5, 0.0]
    assert rubric.score([make_rollout("a")]).failures() == {"share": 0.0, "rank": 0.0}
    assert Rubric({"each": Length()}, {}).score([make_rollout("a")]).failures() == {}


def test_rewards_that_ask_the_reference() -> None:
    rubric = Rubric({"s": Surprise()}, {"surprise": 1.0})
    assert rubric.needs_reference
    rollouts = [make_rollout("a"), make_rollout("b")]
    with_reference = rubric.score(rollouts, [torch.tensor([-1.0, -2.0]), torch.tensor([-0.5])])
    assert with_reference.values.flatten().tolist() == [3.0, 0.5]
    assert rubric.score(rollouts).values.isnan().all()


class Asking(Length):
    def take_counts(self):
        return {"questions": 3.0, "cost": 0.5}


def test_what_judges_took_is_summed_over_rewards() -> None:
    other = Asking()
    other.components = ("a", "b")
    assert Rubric({"one": Asking(), "two": other, "three": Fixed(c=1.0)}, {}).take_counts() == {
        "questions": 6.0,
        "cost": 1.0,
    }
    assert Rubric({"a": Length()}, {}).take_counts() == {}
