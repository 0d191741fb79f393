import math
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repic.rewards.function import FunctionReward, add_own
from repic.rewards.rubric import Rubric
from repic.signals import Stopped
from repic.types import Example, Rollout

NAN = float("nan")


def make_rollout(text: str, task: str = "caption", present: tuple[str, ...] = ()) -> Rollout:
    example = Example(f"id-{text}", task, (), None, "", "", (), present, 1)
    return Rollout(example, text, torch.zeros(1, dtype=torch.long), torch.zeros(1), True)


def rollouts(*texts: str) -> list[Rollout]:
    return [make_rollout(text) for text in texts]


def wrap(
    function: Any, components: tuple[str, ...] = ("wit",), columns: tuple[str, ...] = ()
) -> FunctionReward:
    return FunctionReward(function, components=components, tasks=["caption"], columns=columns)


def lengths(completions: list[str], examples: list[Example]) -> list[float]:
    return [float(len(text)) for text in completions]


def counts(completions: list[str], examples: list[Example], **columns: list) -> dict[str, list]:
    return {
        "hits": [
            sum(n in t for n in names)
            for t, names in zip(completions, columns["present"], strict=True)
        ],
        "size": [
            None if n > 1 else len(t)
            for t, n in zip(completions, columns["num_concepts"], strict=True)
        ],
    }


def test_a_list_by_hand() -> None:
    batch = wrap(lengths).score(rollouts("a", "", "abc"))
    assert batch.names == ("wit",)
    assert batch.values.tolist() == [[1.0], [0.0], [3.0]]


def test_a_dict_and_columns_by_hand() -> None:
    reward = wrap(counts, ("size", "hits"), ("present", "num_concepts"))
    mine = [make_rollout("<a> <b>", present=("<a>", "<b>")), make_rollout("<b>", present=("<a>",))]
    batch = reward.score(mine)
    assert batch.names == ("size", "hits")
    assert batch.values.tolist() == [[7.0, 2.0], [3.0, 0.0]]


def test_it_is_part_of_a_rubric() -> None:
    rubric = Rubric({"mine": wrap(lengths)}, {"wit": 0.5})
    batch = rubric.score(rollouts("ab", "abcd"))
    assert batch.totals(rubric.weights).tolist() == [1.0, 2.0]


def test_columns_are_attributes_of_the_examples_and_examples_come_along() -> None:
    seen: dict[str, Any] = {}

    def look(completions: list[str], examples: list[Example], **columns: list) -> list[float]:
        seen.update(columns, examples=examples)
        return [0.0] * len(completions)

    mine = [make_rollout("a", present=("<a>",)), make_rollout("b")]
    wrap(look, columns=("id", "present", "pool", "images")).score(mine)
    assert seen.pop("examples") == [rollout.example for rollout in mine]
    assert seen == {
        "id": ["id-a", "id-b"],
        "present": [("<a>",), ()],
        "pool": [(), ()],
        "images": [(), ()],
    }


def test_other_tasks_are_not_asked_about() -> None:
    mine = [make_rollout("ab", "same"), make_rollout("abc"), make_rollout("abcd", "locate")]
    values = wrap(lengths).score(mine).values[:, 0].tolist()
    assert values == pytest.approx([NAN, 3.0, NAN], nan_ok=True)
    # A function need not cope with no captions at all.
    batch = wrap(lambda *_: 1 / 0).score([make_rollout("ab", "same")])
    assert batch.values.isnan().all()
    assert wrap(lengths).score([]).values.shape == (0, 1)


numbers = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(-1e9, 1e9, width=32))


@given(st.lists(numbers, max_size=6), st.sampled_from([list, tuple, np.array, torch.tensor]))
def test_every_kind_of_number_and_of_list_is_read(
    values: list, kind: Callable[[list], Any]
) -> None:
    if kind in (np.array, torch.tensor):
        values = [NAN if value is None else float(value) for value in values]
    batch = wrap(lambda *_: kind(values)).score(rollouts(*map(str, range(len(values)))))
    expected = [NAN if value is None else float(value) for value in values]
    assert batch.values[:, 0].tolist() == pytest.approx(expected, nan_ok=True)


def test_scalars_of_numpy_and_torch_are_numbers() -> None:
    mixed = [np.float32(0.5), torch.tensor(2.0), np.True_, np.int64(3)]
    values = wrap(lambda *_: mixed).score(rollouts(*"abcd")).values[:, 0].tolist()
    assert values == [0.5, 2.0, 1.0, 3.0]


@pytest.mark.parametrize(
    "value",
    ["0.5", math.inf, -math.inf, 1e39, 10**400, [1.0], torch.zeros(2), 1j, {}, Fraction(1, 2)],
)
def test_what_is_no_number_is_named_with_its_place(value: object) -> None:
    with pytest.raises(
        ValueError, match=r"returned .* as wit of caption 1 \(id-b: 'b'\); it should"
    ):
        wrap(lambda *_: [0.0, value]).score(rollouts("a", "b"))


def test_places_count_in_the_list_that_the_function_got() -> None:
    mine = [make_rollout("x", "same"), make_rollout("a"), make_rollout("b")]
    with pytest.raises(ValueError, match=r"caption 1 \(id-b"):
        wrap(lambda *_: [0.0, "x"]).score(mine)


@pytest.mark.parametrize(
    ("returned", "components", "complaint"),
    [
        ([1.0], ("wit",), "returned 1 values of wit for 2 captions"),
        ([1.0] * 3, ("wit",), "returned 3 values of wit for 2 captions"),
        ({"a": [1.0, 1.0], "b": [1.0]}, ("a", "b"), "returned 1 values of b for 2 captions"),
        ({"a": [1.0, 1.0]}, ("a", "b"), "returned the components a; its `components` are a, b"),
        ({"a": [1.0] * 2, "c": [1.0] * 2}, ("a",), "returned the components a, c; its .* are a"),
        ({}, ("wit",), r"returned the components \(none\)"),
        ([1.0, 1.0], ("a", "b"), "returned one list for a; its `components` are a, b"),
        (1.0, ("wit",), "returned 1.0 for wit, not a list"),
        ("ab", ("wit",), "returned 'ab' for wit, not a list"),
        (None, ("wit",), "returned None for wit, not a list"),
        (torch.tensor(1.0), ("wit",), "returned 1.0 for wit, not a list"),
        ({"wit": {"a": 1}}, ("wit",), "returned .* for wit, not a list"),
    ],
)
def test_what_is_no_list_for_each_component_is_named(
    returned: object, components: tuple[str, ...], complaint: str
) -> None:
    def mine(completions: list[str], examples: list[Example]) -> object:
        return returned

    with pytest.raises(ValueError, match=rf"^reward function mine {complaint}"):
        wrap(mine, components).score(rollouts("a", "b"))


def test_an_exception_names_the_caption_and_keeps_its_cause() -> None:
    def picky(completions: list[str], examples: list[Example]) -> list[float]:
        return [1 / len(text) for text in completions]

    with pytest.raises(
        ValueError, match=r"picky raised ZeroDivisionError: .*, at caption 2 \(id-: ''\)$"
    ) as caught:
        wrap(picky).score(rollouts("a", "b", "", "c"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_function_cannot_end_the_run_in_silence() -> None:
    def quits(completions: list[str], examples: list[Example]) -> list[float]:
        return [1.0 if text else sys.exit(0) for text in completions]

    with pytest.raises(ValueError, match=r"quits raised SystemExit: 0, at caption 1 \(id-: ''\)$"):
        wrap(quits).score(rollouts("a", "", "c"))

    def is_told(completions: list[str], examples: list[Example]) -> list[float]:
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        wrap(is_told).score(rollouts("a"))


def test_a_function_has_its_time_and_what_it_raised_is_said_all_the_same() -> None:
    def sleeps(completions: list[str], examples: list[Example]) -> list[float]:
        if len(completions) > 1:
            raise RuntimeError("too many")
        time.sleep(60)
        return [0.0]

    rubric = Rubric({"own.sleeps": wrap(sleeps)}, {}, seconds=0.05)
    with pytest.raises(
        ValueError, match=r"reward own\.sleeps took longer than reward\.seconds=0\.05"
    ):
        rubric.score(rollouts("a"))
    with pytest.raises(ValueError, match=r"sleeps raised RuntimeError: too many, for 2 captions"):
        rubric.score(rollouts("a", "b"))


def test_an_exception_of_the_batch_alone_says_so() -> None:
    def crowded(completions: list[str], examples: list[Example]) -> list[float]:
        if len(completions) > 1:
            raise RuntimeError("too many")
        return [0.0]

    with pytest.raises(ValueError, match="too many, for 2 captions at once, and for none of them"):
        wrap(crowded).score(rollouts("a", "b"))


def test_a_function_that_does_not_take_its_columns_is_told() -> None:
    with pytest.raises(ValueError, match=r"lengths raised TypeError: .*'present'"):
        wrap(lengths, columns=("present",)).score(rollouts("a"))


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(ValueError, match="lengths needs a name or more in `components`"):
        wrap(lengths, ())
    with pytest.raises(
        ValueError, match=r"column 'presents'; an example has id, task.* pool, images"
    ):
        wrap(lengths, columns=("presents",))


def test_a_path_is_imported_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_politeness.py").write_text(
        "def polite(completions, examples):\n    return [2]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    reward = wrap("own_politeness.polite")
    assert reward.score(rollouts("a")).values.tolist() == [[2.0]]
    with pytest.raises(
        ValueError, match=r"function own_politeness\.polite returned 1 values of wit"
    ):
        reward.score(rollouts("a", "b"))


@pytest.fixture
def _my_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_short.py").write_text(
        "def wit(completions, examples, present, scale=2.0):\n"
        "    return [scale * len(names) for names in present]\n"
        "def lost(completions, examples, colour):\n"
        "    return [0.0 for _ in completions]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("own", "weight"),
    [
        ("own_short.wit", 1.0),
        ("own_short.wit:0.5", 0.5),
        (["own_short.wit"], 1.0),
        (["own_short.wit:-2"], -2.0),
        ({"own_short.wit": 0.25}, 0.25),
    ],
)
@pytest.mark.usefixtures("_my_rewards")
def test_functions_of_one_s_own_by_their_paths(own: Any, weight: float) -> None:
    conditions = {"mine": {"component": "size", "given": "size", "at_least": 1}}
    before = Rubric({"lengths": wrap(lengths, ("size",))}, {"size": 3.0}, conditions)
    rubric = add_own(before, own)
    assert rubric is not None
    assert (rubric.names, rubric.conditions) == (("size", "wit"), conditions)
    assert rubric.weights.tolist() == [3.0, weight]
    mine = [make_rollout("a", present=("<a>",)), make_rollout("b", "locate", present=("<a>",))]
    first, second = rubric.score(mine).values.tolist()
    assert first == [1.0, 2.0]
    assert all(map(math.isnan, second))


@pytest.mark.usefixtures("_my_rewards")
def test_without_a_reward_one_s_own_is_all_that_pays() -> None:
    alone = add_own(None, "own_short.wit")
    assert alone is not None
    assert (alone.names, alone.weights.tolist()) == (("wit",), [1.0])
    rubric = Rubric({}, {})
    assert add_own(rubric, None) is rubric
    assert add_own(None, None) is None


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("own_short.wut", r"reward function own_short\.wut: .* did you mean wit\?"),
        ("wit", r"'wit' is no dotted path, such as my_rewards\.politeness"),
        ("own_short.wit:half", r"reward\.own: own_short\.wit: the weight 'half' is no finite"),
        ({"own_short.wit": None}, r"reward\.own: own_short\.wit: the weight None is no finite"),
        (
            ["own_short.wit", "own_short.wit:2"],
            r"the component 'wit' is there already",
        ),
        ("own_short.lost", r"asks for the column 'colour'; an example has id, task"),
        (3, r"'3' is no dotted path"),
    ],
)
@pytest.mark.usefixtures("_my_rewards")
def test_what_is_wrong_with_one_s_own_is_said(own: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        add_own(None, own)
