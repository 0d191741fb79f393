import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.judges.questions import CaptionPair, Preference
from repic.metrics.captions.arena import Arena
from repic.metrics.captions.metric import CaptionKey, Captions, MetricFailed
from repic.metrics.captions.pairs import GrammarPairs
from repic.metrics.captions.same_picture import partners
from repic.toybox.grammar import parse_caption, unread_clauses
from tests.properties import at_most
from tests.scores import corpus, read_captions
from tests.unit.metrics.scenes import say, scenes
from tests.unit.tables.test_runs import PREDICTION

REFERENCES = ("A red bear, <bo>, sits on the left on a beach.",)  # 5 facts


class Longer:
    """Prefers the longer caption, is torn where one is "both", and silent where one is "?"."""

    may_fail = True
    needs = "its picture at hand"

    def missing(self) -> None:
        pass

    def applies(self, pair: CaptionPair) -> bool:
        return "blind" not in (pair.first, pair.second)

    def prefer(self, pairs: Sequence[CaptionPair]) -> list[Preference | None]:
        return [self.one(pair.first, pair.second) for pair in pairs]

    def one(self, first: str, second: str) -> Preference | None:
        if "?" in (first, second):
            return None
        if "both" in (first, second):
            return Preference(0.5, is_consistent=False)
        difference = len(first) - len(second)
        return Preference(0.5 if not difference else float(difference > 0), is_consistent=True)


def exact(*, names_first: bool = False) -> GrammarPairs:
    return GrammarPairs(parser=parse_caption, unread=unread_clauses, names_first=names_first)


def arena(*baselines: str, source: str = "grammar") -> Arena:
    sources: Any = {"grammar": exact(), "judge": Longer()}
    return Arena(baselines=list(baselines), source=source, sources=sources)


def read(*texts: str, references: tuple[str, ...] = REFERENCES, keys: bool = True) -> Captions:
    number = len(texts)
    names = [CaptionKey(f"{i}.jpg", ("<bo>",), "Who?") for i in range(number)] if keys else None
    return read_captions(texts, [references] * number, keys=names)


@pytest.mark.parametrize(
    ("caption", "score"),
    [
        (REFERENCES[0], 0),
        ("On a beach on the left sits a red bear, <bo>.", 0),
        ("A red bear, <bo>, sits on the left on a beach. A red bear.", 0),  # nothing new
        ("A plain red bear, <bo>, sits on the left on a beach.", -100),  # "plain" nobody says
        ("A red bear, <bo>, sits on the left on a beach. <mi>.", -100),
        ("A red bear, <mi>, sits on the left on a beach.", -100),
        ("", -100),
    ],
)
def test_against_the_reference_by_hand(caption: str, score: float) -> None:
    references = ("A bear.", *REFERENCES, "A red bear, <bo>.")  # the longest one is the opponent
    found = corpus(arena("reference"), read(caption, references=references))
    assert found == {"arena": score, "arena_inconsistent": 0}


@pytest.mark.parametrize(
    ("first", "second", "by_all", "by_names"),
    [
        # 3 right to 2 right; but the names are 0 to 1.
        ("A red bear on the left.", "A bear, <bo>.", 1.0, 0.0),
        # 2 right - 1 false to 1 right: a tie; the names are -1 to 0.
        ("A red bear, <mi>.", "A bear.", 0.5, 0.0),
        ("A bear, <bo>.", "A red bear, <bo>.", 0.0, 0.0),
        ("A bear, <bo>.", "<bo>. A bear.", 1.0, 1.0),
    ],
)
def test_what_an_exact_judge_prefers(
    first: str, second: str, by_all: float, by_names: float
) -> None:
    pair = CaptionPair(first, second, REFERENCES)
    for judge, score in ((exact(), by_all), (exact(names_first=True), by_names)):
        assert judge.prefer([pair]) == [Preference(score, is_consistent=True)]


@at_most(15)
@given(scenes(most=2), scenes(most=2), scenes(most=2), st.booleans())
def test_swapping_mirrors_and_the_truth_never_loses(truth, first, second, names_first) -> None:
    judge = exact(names_first=names_first)

    def score(one: str, other: str) -> float:
        (found,) = judge.prefer([CaptionPair(one, other, (say(truth),))])
        assert found is not None
        return found.score

    assert score(say(first), say(second)) + score(say(second), say(first)) == 1
    assert score(say(truth), say(first)) >= 0.5
    assert score(say(truth), "") == 1


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two baselines of three pictures, in either form; the second's rows are in another order."""
    rows = [[f"{i}.jpg", ["<bo>"], text, "Who?"] for i, text in enumerate(("aa", "both", "?"))]
    (tmp_path / "one.json").write_text(json.dumps(rows))
    lines = [
        {**asdict(PREDICTION), "id": f"{i}", "images": ["r", f"{i}.jpg"], "present": ["<bo>"],
         "pool": ["<bo>"], "prompt": "And?", "caption": text}
        for i, text in reversed(list(enumerate(("aaaa", "aa", "?"))))
    ]  # fmt: skip
    (tmp_path / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return [str(tmp_path / name) for name in ("one.json", "predictions.jsonl")]


def test_wins_losses_and_changing_choices_by_hand(files: list[str]) -> None:
    metric = arena(*files, source="judge")
    assert metric.missing() is None
    rows = metric.statistics(read("aaa", "aaa", "aaa"))
    # "aaa" wins and loses; is torn and wins; and is not judged.
    assert rows.tolist() == [
        [0, 1, 0, 1, 0, 1],
        [50, 1, 50, 1, 0, 1],
        [0, 0, 0, 0, 100, 1],
    ]
    assert corpus(metric, read("aaa", "aaa", "aaa")) == pytest.approx(
        {"arena": 25, "arena_inconsistent": 25, "arena_unjudged": 100 / 3}
    )


def test_a_baseline_has_to_have_every_picture(files: list[str]) -> None:
    with pytest.raises(MetricFailed, match=r"one\.json has no caption of 1 of 4 .*'3\.jpg'"):
        arena(files[0], source="judge").statistics(read("a", "a", "a", "a"))
    with pytest.raises(MetricFailed, match="not known which pictures"):
        arena(files[0], source="judge").statistics(read("a", keys=False))
    with pytest.raises(MetricFailed, match="no caption has its picture at hand"):
        arena(files[0], source="judge").statistics(read("blind"))
    with pytest.raises(MetricFailed, match="no caption has references"):
        arena("reference").statistics(read("A bear.", references=()))
    assert "set metrics.scorers.arena.baselines" in (arena().missing() or "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "a.json, line 1: not JSON"),
        ("a.json", "[]", "a.json: is empty; it needs a caption"),
        ("a.json", '[["a.jpg", ["<bo>"]]]', "a.json, row 1: the key 'caption' is missing; need"),
        ("a.json", '[["a.jpg", "<bo>", "A bear."]]', "a.json, row 1, key 'names': .* need"),
        ("a.json", '[["a.jpg", ["<bo>"], 3]]', "a.json, row 1, key 'caption': is 3, need"),
        ("a.json", '[["a", ["<a>"], "x"], ["a", ["<a>"], "y"]]', "row 2: a second caption of 'a'"),
        ("a.jsonl", '{"id": "1"}', "a.jsonl, line 1: the key 'phase' is missing"),
    ],
)
def test_a_bad_file_is_named_at_the_start(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        arena(str(tmp_path / name)).missing()
    with pytest.raises(ValueError, match=r"arena\.baselines: .*no\.json: no such file"):
        arena(str(tmp_path / "no.json")).missing()


def test_every_system_of_a_file_is_a_baseline(files: list[str]) -> None:
    found = arena(*files).systems
    assert list(found) == [files[0], f"{files[1]} sft"]
    assert found[files[0]][CaptionKey("0.jpg", ("<bo>",), "Who?")] == "aa"


def key(image: str, *names: str, prompt: str | None = None) -> CaptionKey:
    return CaptionKey(image, names, prompt)


def test_partners_by_image_and_names_and_by_prompt_where_needed() -> None:
    ours = [key("a", "<x>", "<y>", prompt="1"), key("a", "<x>", prompt="1"), key("b", prompt="1")]
    theirs = [key("b", prompt="2"), key("a", "<y>", "<x>", prompt="2")]
    assert partners(ours, theirs) == [1, None, 0]
    twice = [*theirs, key("b", prompt="1")]  # now b has two, so that the prompt tells
    assert partners(ours, twice) == [1, None, 2]
    assert partners(ours[2:], twice[:1]) == [0]
    with pytest.raises(ValueError, match=r"the others: two are of image 'b' with names - and"):
        partners(ours, [*twice, twice[0]])
    with pytest.raises(ValueError, match=r"the captions: two are of image 'b'"):
        partners([*ours, ours[2]], theirs)


keys = st.builds(CaptionKey, st.sampled_from("ab"), st.sampled_from([(), ("<x>",)]), st.none())
prompted = st.builds(CaptionKey, st.sampled_from("ab"), st.just(()), st.sampled_from("pq"))


@given(st.lists(keys | prompted, unique=True), st.lists(keys | prompted, unique=True))
def test_partners_are_mutual(ours: list[CaptionKey], theirs: list[CaptionKey]) -> None:
    there, back = partners(ours, theirs), partners(theirs, ours)
    for i, place in enumerate(there):
        if place is not None:
            assert back[place] == i
            assert (ours[i].image, ours[i].names) == (theirs[place].image, theirs[place].names)
    taken = [place for place in there if place is not None]
    assert len(set(taken)) == len(taken)
