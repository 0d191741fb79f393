from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.page.gallery import (
    Method,
    choose,
    find_examples,
    gather,
    key_of,
    methods_of,
    scene_card,
    shares,
)
from repic.tables.runs import Run
from repic.types import Example, Prediction, Reference
from tests.unit.tables.saved import RUN, caption_of


def make_run(
    seed: int, reward: str = "combined", phases: Sequence[str] = ("base", "sft", "grpo")
) -> Run:
    cells = {"1": {"accuracy": 10.0 + seed}}
    return replace(
        RUN,
        folder=Path(f"runs/{reward}/seed_{seed}"),
        seed=seed,
        overrides=(f"seed={seed}",),
        choices={"reward": reward},
        metrics={p: {"1": {"accuracy": 1.0}} if p == "base" else cells for p in phases},
    )


def predict(
    number: int,
    phase: str,
    count: int = 1,
    pool: tuple[str, ...] = ("<bo>", "<mi>"),
    answers: tuple[str, ...] = ("<bo> sits.",),
) -> Prediction:
    said = caption_of(make_example(number, count), phase, f"{phase} {number}")
    return replace(said, answers=answers, pool=pool)


def make_example(number: int, count: int = 1) -> Example:
    return Example(
        id=f"s{number}",
        task="caption",
        references=(Reference("<mi>", "a cat", None), Reference("<bo>", None, None)),
        answers=("<bo> sits.",),
        present=("<bo>",),
        num_concepts=count,
    )


def test_methods_are_rows_of_the_table_by_their_first_seed() -> None:
    phases = ("name_everybody", "base", "sft", "grpo")
    runs = [make_run(2, phases=phases), make_run(1, phases=phases), make_run(1, "quality")]
    methods = methods_of(runs)
    assert [(m.label, m.runs[0].seed, m.num_seeds) for m in methods[1:]] == [
        ("SFT only", 1, 2),
        ("+ RL (reward=quality)", 1, 1),
        ("+ RL (reward=combined)", 1, 2),
    ]
    assert methods[0].label == "base model"  # one for all runs, and none for naming everybody


def test_captions_of_one_scene_come_together() -> None:
    one, two = make_run(0), make_run(0, "quality")
    methods = [
        Method("SFT", "sft", (one,)),
        Method("A", "grpo", (one,)),
        Method("B", "grpo", (two,)),
    ]
    files = {
        one.folder: [predict(0, "base"), predict(0, "sft"), predict(0, "grpo")],
        # Its second is another scene of the same number: other rules of the same dataset.
        two.folder: [predict(0, "grpo", pool=("<bo>",)), predict(1, "grpo", answers=("x",))],
    }
    scenes, speakers = gather(methods, files.__getitem__)
    assert speakers == {"SFT": one, "A": one, "B": two}
    assert [(key.id, list(captions)) for key, captions in scenes.items()] == [
        ("s0", ["SFT", "A", "B"]),
        ("s1", ["B"]),
    ]
    other, _ = gather([methods[2]], lambda _: [predict(0, "grpo", answers=("else",))])
    assert not set(other) & set(scenes)


def test_a_method_speaks_by_its_first_run_that_has_captions() -> None:
    runs = tuple(make_run(seed) for seed in range(3))
    files = {runs[0].folder: [predict(0, "base")], runs[1].folder: [predict(1, "grpo")]}
    method, silent = Method("A", "grpo", runs), Method("B", "sft", runs[:2])
    scenes, speakers = gather([method, silent], files.__getitem__)
    assert [key.id for key in scenes] == ["s1"]
    assert speakers == {"A": runs[1]}


def test_the_first_of_each_count_are_chosen_and_shared_ones_first() -> None:
    a, b = make_run(0), make_run(0, "quality")
    files = {
        a.folder: [predict(n, "grpo", count) for count in (3, 1) for n in range(4)],
        b.folder: [predict(n, "grpo", count) for count in (1, 3) for n in (2, 3)],
    }
    methods = [Method("A", "grpo", (a,)), Method("B", "grpo", (b,))]
    keys = choose(gather(methods, files.__getitem__)[0], {1: 3, 3: 1})
    assert [(key.num_concepts, key.id) for key in keys] == [
        (1, "s2"), (1, "s3"), (1, "s0"), (3, "s2"),
    ]  # fmt: skip


@given(st.dictionaries(st.integers(1, 5), st.integers(0, 40), min_size=1), st.integers(0, 150))
def test_shares_are_even_and_use_all_there_is(sizes: dict[int, int], total: int) -> None:
    given_ = shares(sizes, total)
    assert sum(given_.values()) == min(total, sum(sizes.values()))
    assert all(0 <= given_[part] <= size for part, size in sizes.items())
    open_parts = [given_[part] for part, size in sizes.items() if given_[part] < size]
    if open_parts:  # nobody has more than one above those who could take more
        assert max(given_.values()) - min(open_parts) <= 1


def test_examples_are_asked_of_one_run_after_the_other() -> None:
    runs = [make_run(seed) for seed in range(4)]
    keys = [key_of(make_example(n)) for n in range(3)]
    asked = []

    def remake(folder: Path) -> Iterator[Example]:
        asked.append(folder)
        if folder == runs[0].folder:
            raise ValueError("data.root: there is no folder /gone")
        yield from {1: [make_example(n) for n in (0, 7)], 2: [make_example(n) for n in (1, 2, 3)]}[
            runs.index(next(run for run in runs if run.folder == folder))
        ]

    found, failed = find_examples(keys, [run.folder for run in [*runs[:2], *runs]], remake)
    assert list(found) == keys
    assert failed == {runs[0].folder: "data.root: there is no folder /gone"}
    assert asked == [run.folder for run in runs[:3]]  # then nothing was missing


def test_a_card_lists_every_name_once_and_says_who_had_other_references() -> None:
    captions = {
        "A": predict(0, "grpo"),
        "B": predict(0, "grpo", pool=("<zu>", "<bo>")),
        "C": predict(0, "grpo", pool=("<mi>", "<zu>")),  # it was not given <bo>, who is there
        "D": predict(0, "grpo", pool=("<zu>", "<mi>", "<bo>")),
    }
    card = scene_card(key_of(captions["A"]), captions, make_example(0))
    assert [(r.name, r.info, r.is_present) for r in card.references] == [
        ("<bo>", None, True),
        ("<mi>", "a cat", False),
        ("<zu>", None, False),
    ]
    assert [c.introduced for c in card.captions] == [
        ("<bo>", "<mi>"),
        ("<zu>", "<bo>"),
        ("<mi>", "<zu>"),
        None,
    ]


@pytest.mark.parametrize("example", [None, make_example(0)])
def test_captions_are_shown_with_and_without_an_example(example: Example | None) -> None:
    captions = {"A": predict(0, "grpo")}
    card = scene_card(key_of(captions["A"]), captions, example)
    assert [c.text for c in card.captions] == ["grpo 0"]
    assert card.answer == "<bo> sits."
    assert [r.name for r in card.references] == ["<bo>", "<mi>"]
