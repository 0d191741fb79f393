from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.captions.grammar_facts import (
    NAME,
    REMARK,
    Fact,
    GrammarSource,
    assign,
    judge_facts,
    scene_facts,
)
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.types import Mention, Scene
from tests.properties import at_most
from tests.unit.metrics.scenes import say, scenes

GRAMMAR = GrammarSource(parser=parse_caption, unread=unread_clauses)
TRUTH = scene_facts(
    Scene(
        (
            Mention({"colour": "red", "species": "bear", "position": "left"}, "<bo>"),
            Mention({"species": "cat"}),
        ),
        "beach",
    )
)  # 0 to 3 of the bear (its name last), 4 of the cat, 5 the beach


def judged(caption: str) -> list[tuple[str, int | None]]:
    claims = judge_facts(GRAMMAR.facts(caption), TRUTH)
    return [(claim.fact.value, claim.oracle) for claim in claims]


def test_claims_by_hand() -> None:
    assert judged("A blue bear, <bo>, sits on the left on a beach. How cosy!") == [
        ("blue", None),
        ("bear", 1),
        ("left", 2),
        ("<bo>", 3),
        ("beach", 5),
        ("How cosy", None),
    ]
    # Of two bears one is the bear, and what is said again is right again.
    assert judged("A bear. A red bear.") == [("bear", 1), ("red", 0), ("bear", 1)]
    # What is seen decides, and a name only where nothing is seen, or as much of several.
    assert judged("A cat, <bo>.") == [("cat", 4), ("<bo>", None)]
    assert judged("A dog, <bo>.") == [("dog", None), ("<bo>", 3)]
    assert judged("<bo> <bo>. A bear, <bo>.") == [
        ("bear", 1),
        ("<bo>", 3),
        ("<bo>", None),
        ("<bo>", None),
    ]
    assert judged("A dog in a room.") == [("dog", None), ("room", None)]
    assert judged("") == []


def test_loose_names_and_remarks_are_of_nobody() -> None:
    facts = GRAMMAR.facts("<mi> sees a cat. It is a fine day.")
    assert Fact(None, NAME, "<mi>") in facts
    assert [f.value for f in facts if f.slot == REMARK] == ["sees", "It is a fine day"]


def test_only_references_that_are_read_to_the_end_are_the_truth() -> None:
    references = ("A red bear looks happy.", "A bear.", "A bear on a beach.", "A plain red cat.")
    truth = GRAMMAR.truth(references)
    assert [m.attributes for m in truth.mentions] == [
        {"pattern": "plain", "colour": "red", "species": "cat"}
    ]
    assert truth.background == "beach"
    assert GRAMMAR.truth(references[:1]) == Scene(())


rows = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=4
    )
)


@given(rows)
def test_assignment_is_the_best_of_all(agreements: list[list[int]]) -> None:
    """Against every assignment, one by one."""
    columns = range(len(agreements[0]))
    best = max(
        sum(row[c] for row, c in zip(agreements, chosen, strict=True) if c is not None)
        for chosen in product([None, *columns], repeat=len(agreements))
        if len({c for c in chosen if c is not None}) == sum(c is not None for c in chosen)
    )
    found = assign(agreements)
    # Of rows that share a column one has it for its own: the most that a column brings counts.
    own = {c: max(r[c] for r, d in zip(agreements, found, strict=True) if d == c) for c in columns
           if c in found}  # fmt: skip
    assert sum(own.values()) >= best
    for row, column in zip(agreements, found, strict=True):
        assert (column is None) == (not any(row))
        assert column is None or row[column] > 0


@at_most(20)
@given(scenes(most=3))
def test_every_reference_is_right_in_all_that_it_says(scene: Scene) -> None:
    references = write_captions(scene)
    truth = scene_facts(GRAMMAR.truth(references))
    assert sorted(f.value for f in truth) == sorted(f.value for f in scene_facts(scene))
    for caption in (*references, say(scene)):
        claims = judge_facts(GRAMMAR.facts(caption), truth)
        places = [claim.oracle for claim in claims]
        assert None not in places
        assert len(set(places)) == len(places) >= len(truth) - 1
