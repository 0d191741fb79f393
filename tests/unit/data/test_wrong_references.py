from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.data.wrong_references import FIELDS, WrongReferences
from repic.types import Example, Reference
from tests.fakes import Noise


def example(number: int, names: str, withheld: str = "") -> Example:
    """References by letter; a picture is told by its seed, an info by its text."""
    return Example(
        id=f"e{number}",
        task="caption",
        references=tuple(
            Reference(
                f"<{name}>",
                None if name in withheld else f"info of {name}",
                None if name in withheld else Noise(ord(name)),
            )
            for name in names
        ),
        query=Noise(number),
        question="Who?",
        answers=("a",),
        present=(f"<{names[0]}>",),
        num_concepts=1,
    )


def of(example: Example, field: str) -> list:
    return [getattr(reference, field) for reference in example.references]


@given(st.text("abcdefg", min_size=2, max_size=6), st.text("abc", max_size=3), st.integers(0, 9))
@pytest.mark.parametrize("kind", FIELDS)
def test_nobody_keeps_its_own_and_nothing_else_changes(
    kind: str, names: str, withheld: str, seed: int
) -> None:
    names = "".join(dict.fromkeys(names))
    true = [example(0, names, withheld), example(1, "xyz")]
    lied = WrongReferences(true, kind=kind, seed=seed)[0]
    field = FIELDS[kind]
    (other,) = set(FIELDS.values()) - {field}
    before, after = of(true[0], field), of(lied, field)
    assert of(lied, "name") == of(true[0], "name")
    assert of(lied, other) == of(true[0], other)
    assert [a is None for a in before] == [a is None for a in after]
    assert all(a != b for a, b in zip(before, after, strict=True) if a is not None)
    if len(names) - before.count(None) > 1:
        assert Counter(map(str, before)) == Counter(map(str, after))
    assert (lied.present, lied.answers, lied.query) == (true[0].present, ("a",), Noise(0))


def test_three_worked_by_hand() -> None:
    data = WrongReferences([example(0, "abc")], kind="wrong_infos", seed=0)
    assert of(data[0], "info") in (
        ["info of b", "info of c", "info of a"],
        ["info of c", "info of a", "info of b"],
    )
    assert data[0] == data[0]
    seeds = [WrongReferences([example(0, "abc")], kind="wrong_infos", seed=s) for s in range(9)]
    assert len({tuple(of(found[0], "info")) for found in seeds}) == 2


def test_one_alone_gets_a_strangers() -> None:
    true = [example(0, "a"), example(1, "ab"), example(2, "a")]
    data = WrongReferences(true, kind="wrong_images", seed=0)
    assert len(data) == 3
    assert of(data[0], "image") == [Noise(ord("b"))]
    assert of(data[0], "name") == ["<a>"]


@pytest.mark.parametrize("kind", FIELDS)
def test_an_equal_one_is_none_to_exchange_for(kind: str) -> None:
    """Two toys look alike and have one info: neither may be shown it as the other's."""
    first, stranger = example(0, "abc"), example(1, "xyz")
    a, b, c = first.references
    alike = replace(first, references=(a, replace(a, name="<b>"), c, replace(a, name="<d>")))
    field = FIELDS[kind]
    for seed in range(9):
        true = [
            alike,
            replace(stranger, references=(replace(a, name="<x>"), replace(b, name="<y>"))),
        ]
        lied = WrongReferences(true, kind=kind, seed=seed)[0]
        before, after = of(alike, field), of(lied, field)
        assert all(one != other for one, other in zip(before, after, strict=True))
        if kind == "wrong_images":
            assert Noise(ord("b")) in after


def test_without_anybody_to_exchange_with_it_is_said() -> None:
    data = WrongReferences([example(0, "a"), example(1, "a")], kind="wrong_images", seed=0)
    with pytest.raises(ValueError, match="e0 has one image, and no other prompt has another"):
        data[0]
    nothing = WrongReferences([example(0, "ab", "ab")], kind="wrong_images", seed=0)
    assert of(nothing[0], "image") == [None, None]
