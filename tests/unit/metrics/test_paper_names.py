import random

import pytest

from repic.metrics.paper_names import (
    VARIANTS,
    count_paper_names,
    paper_outcomes,
    paper_pool,
    variant_for,
)
from tests.unit.metrics.hand import FILES, OUTCOMES, PAPER


def pool_of(rows: list, name: str):
    return paper_pool([row[1] for row in rows], VARIANTS[name])


@pytest.mark.parametrize("name", FILES)
def test_outcomes_worked_by_hand(name: str) -> None:
    rows = FILES[name]
    assert variant_for([row[1] for row in rows]) is VARIANTS[name]
    pool = pool_of(rows, name)
    assert [paper_outcomes(row[2], row[1], pool) for row in rows] == OUTCOMES[name]


@pytest.mark.parametrize("name", FILES)
def test_counts_worked_by_hand(name: str) -> None:
    rows = FILES[name]
    counts = [count_paper_names(row[2], row[1], pool_of(rows, name)) for row in rows]
    exact, hits, false, missed = map(sum, zip(*counts, strict=True))
    expected = PAPER[name]
    assert 100 * exact / len(rows) == pytest.approx(expected["accuracy"])
    assert 100 * hits / (hits + false) == pytest.approx(expected["precision"])
    assert 100 * hits / (hits + missed) == pytest.approx(expected["recall"])


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        *(
            (f"{before}Bo{after}", True)
            for before in ("", "(", "['\"")
            for after in ".,!?;:)]}\"'-"
        ),
        ("<Bo>", True),
        ("so\n<Bo>\tsits", True),
        ("B</s>o", True),  # the end mark goes before anything else is done
        ("Bo's", False),
        ("<Bo>'s", False),
        ("Bo…", False),  # a mark that is not in the list
        ("*Bo*", False),
        ("Bo-like", False),
        ("<bo>", False),
        ("", False),
    ],
)
def test_tokens_are_stripped_of_the_listed_marks_alone(caption: str, said: bool) -> None:
    pool = paper_pool([["<Bo>", "<Mi>"]], VARIANTS["two"])
    assert paper_outcomes(caption, ["<Bo>", "<Mi>"], pool)[0] == ("Bo" if said else None)


def test_only_two_concepts_have_case() -> None:
    for name, outcome in (("single", "bo"), ("two", None), ("four", "bo")):
        pool = paper_pool([["<Bo>"]], VARIANTS[name])
        assert paper_outcomes("BO", ["<Bo>"], pool) == [outcome]


def test_a_single_concept_is_the_first_target_alone() -> None:
    pool = paper_pool([["<bo>", "<mi>"]], VARIANTS["single"])
    assert paper_outcomes("mi", ["<bo>", "<mi>"], pool) == [None]  # <mi> is not in the pool


def test_others_are_told_from_targets_as_the_scripts_do() -> None:
    """Two spellings of one name: the single script takes them for one, the others do not."""
    targets = [["<Bo>"], ["<bo>"]]
    single, four = (paper_pool(targets, VARIANTS[name]) for name in ("single", "four"))
    assert paper_outcomes("bo", ["<Bo>"], single) == ["bo"]
    four = paper_pool([["<Bo>", "<mi>"], ["<bo>"]], VARIANTS["four"])
    assert paper_outcomes("bo", ["<Bo>", "<mi>"], four) == ["bo", "MISS"]


def test_a_concept_called_miss_is_never_right() -> None:
    pool = paper_pool([["<MISS>"]], VARIANTS["two"])
    assert count_paper_names("<MISS>", ["<MISS>"], pool)[1:] == (0, 1, 1)


@pytest.mark.parametrize(
    ("sizes", "label"),
    [([1, 1], "single"), ([2], "2-concept"), ([3], "4-concept"), ([1, 2], "4-concept")],
)
def test_the_number_of_targets_chooses_the_variant(sizes: list[int], label: str) -> None:
    assert variant_for([["<bo>", "<mi>", "<lu>"][:n] for n in sizes]).label == label


def released(rows: list, name: str) -> list[str | None]:
    """The released rule once more, written the long way round."""
    variant = VARIANTS[name]
    lower = str.lower if variant.folds_case else str

    def bare(text: str) -> str:
        return text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text

    rows = [(targets[:1] if name == "single" else targets, text) for targets, text in rows]
    everyone = sorted({target for targets, _ in rows for target in targets})
    outcomes: list[str | None] = []
    for targets, text in rows:
        tokens = [t.strip(".,!?;:()[]{}\"'-") for t in lower(text.replace("</s>", "")).split()]
        said = [n for n in everyone if lower(n) in tokens or bare(lower(n)) in tokens]
        heard = {bare(lower(n)) for n in said}
        if name == "single":
            others = {bare(lower(n)) for n in everyone} - {bare(lower(targets[0]))}
        else:
            others = {bare(lower(n)) for n in everyone if n not in targets}
        for target in targets:
            found = bare(lower(target)) in heard
            outcomes.append(bare(lower(target)) if found else "MISS" if heard & others else None)
    return outcomes


@pytest.mark.parametrize("name", VARIANTS)
def test_agrees_with_the_rule_the_long_way_round(name: str) -> None:
    rng = random.Random(0)
    names = ["<Bo>", "<bo>", "bo", "<Mi>", "<a b>", "<<x>>", "<x>", "x", "<t->"]
    words = [*names, "BO.", "(<bo>)", "bo's", "mi,", "a", "b", "-x-", "t-", "</s>", "b</s>o", "."]
    for _ in range(500):
        texts = [" ".join(rng.choices(words, k=rng.randint(0, 5))) for _ in range(4)]
        rows = [(rng.sample(names, rng.randint(1, 4)), text) for text in texts]
        pool = paper_pool([targets for targets, _ in rows], VARIANTS[name])
        found = [o for targets, text in rows for o in paper_outcomes(text, targets, pool)]
        assert found == released(rows, name)
