from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.detectors.annotations import TextEntities
from repic.parsing import mentions_name
from repic.rewards.recognition import RecognitionReward
from repic.toybox.dataset import CaptionDataset, SceneRules
from repic.types import Example, Reference

POOL = ("<bo>", "<mo>", "<black widow>")
ALIASES = {"<bo>": ["my cat", "Cat"], "<mo>": ["my black cat", "my cat's friend"]}


def make_example(*answers: str, pool: Sequence[str] = POOL) -> Example:
    references = tuple(Reference(name, "a toy", None) for name in pool)
    return Example("x", "caption", references, None, "", "", answers, (), 1)


def detect(*answers: str, bare_names: bool = True) -> set[str]:
    found = TextEntities(ALIASES, bare_names=bare_names)(make_example(*answers))
    assert found is not None
    return set(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<bo> sits beside <black widow>.", {"<bo>", "<black widow>"}),
        ("bo's hat, and a black  widow", {"<bo>", "<black widow>"}),
        ("Bo and Black Widow", set()),  # another spelling of a name is another word
        ("bow, elbo, bo2, bo_", set()),
        ("My cat sits. The CAT sleeps.", {"<bo>"}),  # an alias may begin a sentence
        ("my black cat", {"<mo>"}),  # the longest spelling alone
        ("My cat's  friend", {"<mo>"}),
        ("my black cat and my cat", {"<mo>", "<bo>"}),
        ("my black hat, catty", set()),
        ("<my cat> and <bo cat>", set()),  # other names, whatever their words
        ("<<bo>> </bo> <bo </mo", set()),  # broken ones
        ("black <x> widow", set()),  # no word across a name
        ("<zz> is there", set()),  # nobody that the prompt introduces
        ("", set()),
    ],
)
def test_by_hand(text: str, expected: set[str]) -> None:
    assert detect(text) == expected


def test_any_of_the_answers_may_say_it() -> None:
    assert detect("<bo> sits", "a cat and mo", "nobody") == {"<bo>", "<mo>"}


def test_names_may_need_their_brackets() -> None:
    assert detect("bo and <mo> and my cat", bare_names=False) == {"<mo>", "<bo>"}
    assert detect("bo and <mo>", bare_names=False) == {"<mo>"}


def test_without_answers_nothing_is_known_and_nothing_is_judged() -> None:
    detector = TextEntities({}, bare_names=True)
    assert detector(make_example()) is None
    reward = RecognitionReward(detector=detector, absent_cost=1.0, tasks=["caption"])
    value = reward("<bo>", make_example())["recognition"]
    assert value != value
    assert reward("<bo>", make_example("<bo>"))["recognition"] == 1.0


def test_nobody_is_introduced() -> None:
    detector = TextEntities({}, bare_names=False)
    assert detector(make_example("a <bo>", pool=())) == frozenset()


def test_it_finds_who_is_in_the_toybox() -> None:
    rules = SceneRules(
        absent=(1, 2),
        lookalike=0.6,
        strangers=(0, 2),
        drop_image=0.1,
        drop_info=0.5,
        omit=0.4,
        swap=0.1,
    )
    scenes = CaptionDataset(
        "train", counts=[1, 2, 3, 4, 5], size=50, seed=0, rules=rules, questions=["?"], scale=1.0
    )
    detector = TextEntities({}, bare_names=True)
    assert [detector(e) for e in scenes] == [frozenset(e.present) for e in scenes]


def test_names_of_any_script_and_spelling_are_found_in_answers() -> None:
    pool = ("<小白>", "<O'Brien>", "<Zoë>", "<bo>")
    detector = TextEntities({}, bare_names=True)
    found = detector(make_example("小白在草地上。", "O’Brien and <Zoe\u0308>, _bo_", pool=pool))
    assert found == frozenset(pool)


words = st.lists(
    st.sampled_from(["bo", "Bo", "<bo>", "mo", "black", "widow", "<black widow>", "</bo>", "cat"]),
    max_size=8,
).map(" ".join)


@given(st.lists(words, min_size=1, max_size=3))
def test_without_aliases_it_reads_as_the_parser_does(answers: list[str]) -> None:
    found = TextEntities({}, bare_names=True)(make_example(*answers))
    assert found == {n for n in POOL if any(mentions_name(text, n) for text in answers)}


@given(words, words, st.permutations(POOL))
def test_more_text_and_another_order_take_no_one_away(one: str, two: str, pool: list[str]) -> None:
    detector = TextEntities(ALIASES, bare_names=True)
    both = detector(make_example(one, two, pool=pool))
    apart = [detector(make_example(text)) for text in (one, two)]
    assert both == frozenset().union(*(found or () for found in apart))


@pytest.mark.parametrize(
    ("aliases", "complaint"),
    [
        ({"bo": ["cat"]}, r"aliases: 'bo' is no name; write it in brackets"),
        ({"<bo>": "cat"}, r"aliases\.<bo>: needs a list of texts"),
        ({"<bo>": [3]}, r"aliases\.<bo>: needs a list of texts"),
        ({"<bo>": [" ."]}, r"aliases\.<bo>: ' \.' has no word"),
        ({"<bo>": ["my  Cat"], "<mo>": ["my cat"]}, r"<mo>: 'my cat' is also <bo>'s"),
        ({"<bo>": ["Mo"], "<mo>": []}, r"<bo>: 'Mo' is also <mo>'s"),
    ],
)
def test_aliases_that_tell_nobody_apart_are_refused(aliases: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TextEntities(aliases, bare_names=True)


def test_a_name_that_counts_in_brackets_alone_may_be_anothers_alias() -> None:
    detector = TextEntities({"<bo>": ["mo"], "<mo>": []}, bare_names=False)
    assert detector(make_example("mo")) == {"<bo>"}
    assert detector(replace(make_example("<mo>"), task="same")) == {"<mo>"}
