import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.metrics.names import name_spans, names_said

POOL = ("<momi>", "<tavo>", "<black widow>", "<captain>", "<captain america>", "<mr. krab>")


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("<momi> sits.", {"<momi>"}),
        ("Momi sits.", {"<momi>"}),
        ("<Momi> sits.", {"<momi>"}),
        ("MOMI's hat and <tavo>'s scarf", {"<momi>", "<tavo>"}),
        ("momi’s hat", {"<momi>"}),
        ("(momi), tavo!", {"<momi>", "<tavo>"}),
        ("momimi, antavo, momi2, momi_x, momi-like, un-momi", set()),
        ("The Black  Widow and a widow in black", {"<black widow>"}),
        ("the <black\twidow>", {"<black widow>"}),
        ("black\nwidow", {"<black widow>"}),
        ("captain america salutes", {"<captain america>"}),
        ("captain, america", {"<captain>"}),
        ("here is mr. krab.", {"<mr. krab>"}),
        ("here is mrs krab.", set()),
        ("<zaza> and <Zaza>", {"<zaza>"}),
        ("<momi junior> and </momi>", {"<momi junior>", "</momi>"}),
        ("< momi > waves", {"<momi>"}),
        ("3 < 4 and 5 > 4, <>, < >", set()),
        ("<an opening\nthat never closes", set()),
        ("<<tavo>>", {"<tavo>"}),
        ("", set()),
    ],
)
def test_names_as_a_person_reads_them(caption: str, said: set[str]) -> None:
    assert names_said(caption, POOL) == said


def test_spans_are_in_order_with_repeats_and_point_into_the_caption() -> None:
    caption = "Momi, <zaza>, tavo's hat, <momi>"
    spans = name_spans(caption, POOL)
    assert [caption[s.start : s.end] for s in spans] == ["Momi", "<zaza>", "tavo", "<momi>"]
    assert [s.name for s in spans] == ["<momi>", "<zaza>", "<tavo>", "<momi>"]


def test_without_a_pool_only_inventions_are_found() -> None:
    assert names_said("momi and <zaza>", ()) == {"<zaza>"}


@pytest.mark.parametrize("name", ["<İbo>", "<ıbo>", "<Straße>", "<a+b>", "<c++>", "<k.o.>"])
def test_names_are_no_patterns_and_may_be_foreign(name: str) -> None:
    bare = name[1:-1]
    for caption in (f"{name} here", f"so {bare} is here", f"so {bare.lower()} is here"):
        name_spans(caption, (name, "<ibo>"))  # a look-alike under case folding is no accident
    assert names_said(f"so {bare} is here", (name,)) == {name}


words = st.text(st.sampled_from("abm o.<>'-\n"), max_size=40)
names = st.text(st.sampled_from("abmo"), min_size=1, max_size=4).map(lambda text: f"<{text}>")


@given(words, st.lists(names, unique=True))
def test_spans_never_overlap_and_every_bracketed_pool_name_is_found(
    caption: str, pool: list[str]
) -> None:
    spans = name_spans(caption, pool)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    for name in pool:
        assert not re.search(re.escape(name), caption) or name in names_said(caption, pool)


@given(words, st.lists(names, unique=True), names)
def test_a_name_is_said_once_it_is_appended(caption: str, pool: list[str], name: str) -> None:
    # A closing bracket first: an unfinished "<" would swallow what follows.
    assert name in names_said(f"{caption}>\n{name}", [*pool, name])


@given(words, st.lists(names, unique=True))
def test_order_of_the_pool_does_not_matter(caption: str, pool: list[str]) -> None:
    assert names_said(caption, pool) == names_said(caption, pool[::-1])
