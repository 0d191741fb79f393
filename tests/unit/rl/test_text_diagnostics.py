import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.rl.text_diagnostics import repeated_share, text_measures
from repic.rl.text_diagnostics import text_diagnostics as diagnostics_of
from repic.types import Example, Reference
from tests.fakes import Noise, example

words = st.lists(st.sampled_from("a red bear <bo> sits".split()), max_size=12)


def prompt(
    infos: Sequence[str | None], present: Sequence[str], answers: Sequence[str] = ()
) -> Example:
    references = tuple(Reference(f"<n{i}>", info, Noise(i)) for i, info in enumerate(infos))
    return replace(
        example("e"), references=references, present=tuple(present), answers=tuple(answers)
    )


def text_diagnostics(
    examples: Sequence[Example], captions: Sequence[Sequence[str]]
) -> dict[str, float]:
    return diagnostics_of({k: [v] for k, v in text_measures(examples, captions).items()})


def test_by_hand() -> None:
    # Of two who are introduced, <n0> is there. The true answer says "a red bear with a hat" as
    # well, so only what it does not say can be copied: "a green cat with", "green cat with a".
    first = prompt(
        ["a red bear with a hat", "a green cat with a"], ["<n0>"], ["A red bear with a hat sits."]
    )
    second = prompt([None], ["<n0>"])  # nobody absent, and no info
    captions = [
        [
            "A red bear with a hat, <n0>.",  # 7 words, 4 runs of four, none copied
            "A green cat with <n1>.",  # 5 words, 2 runs of four, one copied; <n1> is not there
        ],
        ["Red red red red red.", "Red red red red red."],  # 5 words, 3 trigrams, all the same
    ]
    assert text_diagnostics([first, second], captions) == pytest.approx(
        {
            "grpo/words": (7 + 5 + 5 + 5) / 4,
            "grpo/repetition": (0 + 0 + 2 / 3 + 2 / 3) / 4,
            "grpo/distinct_frac": (1 + 1 / 2) / 2,
            "grpo/copied_name_frac": 1 / 2,
            "grpo/copied_info_frac": (0 + 1 / 2) / 2,
        }
    )


def test_parts_of_a_batch_count_by_what_is_in_them() -> None:
    examples, captions = [prompt([None], []), prompt([None], ["<n0>"])], [["a b"], ["a b c d e"]]
    parts = [text_measures(examples[i : i + 1], captions[i : i + 1]) for i in range(2)]
    together = {key: [part[key] for part in parts if key in part] for key in parts[0] | parts[1]}
    assert diagnostics_of(together) == text_diagnostics(examples, captions)
    assert diagnostics_of(together)["grpo/copied_name_frac"] == 0  # one part alone has it


def test_without_answers_all_of_the_info_counts() -> None:
    photo = prompt(["a red bear with a hat"], ["<n0>"])
    numbers = text_diagnostics([photo], [["a red bear with a hat"]])
    assert numbers["grpo/copied_info_frac"] == 1
    assert "grpo/copied_name_frac" not in numbers  # nobody is absent


def test_a_name_that_the_prompt_does_not_introduce_is_not_copied() -> None:
    photo = prompt([None, None], ["<n0>"])
    captions = ["<n0> and <made up>", "n1, no tag", "<n1> and <n1>"]
    numbers = text_diagnostics([photo], [captions])
    assert numbers["grpo/copied_name_frac"] == pytest.approx(1 / 3)
    assert "grpo/copied_info_frac" not in numbers


def test_empty_captions_are_no_trouble() -> None:
    numbers = text_diagnostics([prompt(["a b c d"], [])], [["", ""]])
    assert numbers == {
        "grpo/words": 0,
        "grpo/repetition": 0,
        "grpo/distinct_frac": 0.5,
        "grpo/copied_name_frac": 0,
        "grpo/copied_info_frac": 0,
    }
    assert text_diagnostics([], []) == {}


@given(words, words, st.integers(1, 4))
def test_repetition_is_a_share_that_repeating_raises(
    caption: list[str], other: list[str], n: int
) -> None:
    once, twice = repeated_share(caption, n), repeated_share(caption * 2, n)
    assert 0 <= once <= twice < 1 or len(caption) < n
    assert repeated_share(list(map(str, range(len(other)))), n) == 0
    if len(caption) >= n:
        assert twice >= 0.5 - (n - 1) / (2 * len(caption))


@given(st.lists(st.lists(words.map(" ".join), min_size=1, max_size=4), min_size=1, max_size=3))
def test_everything_is_a_share_but_the_number_of_words(captions: list[list[str]]) -> None:
    examples = [prompt(["a red bear <bo>", None], ["<n0>"])] * len(captions)
    numbers = text_diagnostics(examples, captions)
    assert numbers.pop("grpo/words") >= 0
    assert len(numbers) == 4
    assert all(0 <= value <= 1 for value in numbers.values())


def test_an_iteration_s_captions_take_milliseconds() -> None:
    answer = " ".join(f"On the left there is a red bear with a {i} hat, <n{i}>." for i in range(5))
    examples = [prompt(["a red bear with a blue hat"] * 3, ["<n0>"], [answer] * 5)] * 8
    captions = [[answer] * 8] * 8

    def seconds() -> float:
        begun = time.process_time()
        text_diagnostics(examples, captions)
        return time.process_time() - begun

    assert min(seconds() for _ in range(10)) < 0.1  # 8 ms on a busy core
