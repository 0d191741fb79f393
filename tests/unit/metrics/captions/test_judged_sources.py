"""A model that answers as the exact judge does brings the same scores, by way of every question."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from repic.judges.client import Judge
from repic.metrics.captions.arena import Arena
from repic.metrics.captions.caption_qa import CaptionQA, GrammarReader, JudgedReader
from repic.metrics.captions.dcscore import DCScore, GrammarFacts
from repic.metrics.captions.judged_facts import JudgedFacts
from repic.metrics.captions.judging import JudgedMetric
from repic.metrics.captions.metric import Captions, MetricFailed
from repic.metrics.captions.pairs import GrammarPairs, JudgedPairs
from repic.metrics.captions.quiz import SceneQuizzes
from repic.toybox.cells import SLOT_VALUES
from repic.toybox.grammar import parse_caption, unread_clauses, write_captions
from repic.types import Mention, Scene
from tests.exact_judge import ExactJudge
from tests.fakes import Noise
from tests.judge_server import Act, Server, judge_server, make_judge
from tests.scores import column_scores, read_captions

GRAMMAR: Any = {"parser": parse_caption, "unread": unread_clauses}
QUIZZES = SceneQuizzes(**GRAMMAR, values=SLOT_VALUES)
BEAR = {"pattern": "plain", "colour": "red", "species": "bear", "accessory_colour": "blue",
        "accessory": "hat", "position": "left"}  # fmt: skip
CAT = {**BEAR, "species": "cat", "position": "right"}
SCENES = (
    Scene((Mention(BEAR, "<bo>"), Mention(CAT, "<mi>")), "beach"),
    Scene((Mention(CAT, "<bo>"),), "room"),
)
REFERENCES = [write_captions(scene) for scene in SCENES]
# Of each scene: right, wrong, talkative, naming everybody, exchanging names, and saying nothing.
TEXTS = [
    [
        REFERENCES[0][1],
        "A red bear, <bo>, sits on the right. A red dog. It adds depth to the scene.",
        "A bear, <bo>. A bear, <bo>. A cat. How cosy! <zu> in a room.",
        "<bo> <mi> <zu>.",
        REFERENCES[0][4].replace("<bo>", "<x>").replace("<mi>", "<bo>").replace("<x>", "<mi>"),
        "",
    ],
    [REFERENCES[1][0], "A blue cat with a red hat, <mi>. A cat, <bo>.", " "],
]
PICTURES = (Noise(0), Noise(1))


def captions() -> Captions:
    rows = [(text, i) for i, texts in enumerate(TEXTS) for text in texts]
    return read_captions(
        [text for text, _ in rows],
        [REFERENCES[i] for _, i in rows],
        images=[PICTURES[i] for _, i in rows],
    )


def dcscore(judge: Judge | None, source: str, **trials: int) -> DCScore:
    given = {"extract": 1, "match": 1, "verify": 1, **trials}
    sources = {"grammar": GrammarFacts(**GRAMMAR), "judge": JudgedFacts(judge=judge, trials=given)}
    return DCScore(source=source, sources=sources)


def caption_qa(judge: Judge | None, source: str) -> CaptionQA:
    sources: Any = {
        "grammar": GrammarReader(parser=parse_caption),
        "judge": JudgedReader(judge=judge),
    }
    return CaptionQA(questions=None, quizzes=QUIZZES, most=None, source=source, sources=sources)


def arena(judge: Judge | None, source: str) -> Arena:
    sources: Any = {
        "grammar": GrammarPairs(**GRAMMAR, names_first=False),
        "judge": JudgedPairs(judge=judge, prompt="prefer"),
    }
    return Arena(baselines=["reference"], source=source, sources=sources)


METRICS: Sequence[Callable[..., JudgedMetric]] = (dcscore, caption_qa, arena)


Wrap = Callable[[Callable], Callable]


@contextmanager
def exact(wrap: Wrap = lambda play: play) -> Iterator[tuple[Judge, Server]]:
    """A judge behind an endpoint, whose answers ``wrap`` may spoil."""
    encoder = make_judge("http://127.0.0.1:1/v1").pictures
    references = {encoder.data_url(p): found for p, found in zip(PICTURES, REFERENCES, strict=True)}
    quizzes = [quiz for found in REFERENCES for quiz in QUIZZES(found)]
    with judge_server(wrap(ExactJudge(references, quizzes))) as server:
        yield make_judge(server.base_url, attempts_unparsable=1), server


@pytest.mark.parametrize("make", METRICS)
def test_the_model_gives_what_the_exact_judge_gives(make: Callable[..., JudgedMetric]) -> None:
    with exact() as (judge, server):
        asked, known = make(judge, "judge"), make(None, "grammar")
        rows, expected = asked.statistics(captions()), known.statistics(captions())
    assert len(server.bodies) > 5
    assert rows[:, :-2] == pytest.approx(expected)
    assert (rows[:, -2:] == [0, 1]).all()  # nothing was left unjudged
    assert asked.columns[:-1] == known.columns
    assert asked.columns[-1].name == f"{known.columns[0].name}_unjudged"
    assert len(np.unique(expected[:6, 0])) >= 2  # it tells these captions apart


def test_no_picture_goes_to_who_reads_and_one_to_who_checks() -> None:
    with exact() as (judge, server):
        for make in METRICS:
            make(judge, "judge").statistics(captions())
    by_prompt: dict[str, set[bool]] = {}
    for body in server.bodies:
        content = body["messages"][0]["content"]
        is_shown = not isinstance(content, str)
        text = content[-1]["text"] if is_shown else content
        by_prompt.setdefault(text[:12], set()).add(is_shown and len(content) == 2)
    assert by_prompt == {
        "Take a capti": {False},
        "Two lists of": {False},
        "Check facts ": {True},
        "You do not s": {False},
        "Two captions": {True},
    }


def test_trials_are_asked_with_other_seeds_and_averaged() -> None:
    """The second of two matches finds nothing: recall is halved, and precision stays."""
    seeds: dict[str, set[int]] = {}

    def wrap(play: Callable) -> Callable:
        def spoiled(body: dict[str, Any], index: int) -> Act:
            act, text = play(body, index), json.dumps(body["messages"])
            for part in ("Take a caption", "Two lists", "Check facts"):
                if part in text:
                    seeds.setdefault(part, set()).add(body["seed"])
            if "Two lists" in text and body["seed"] == 1000:
                return Act(json.dumps([0] * len(json.loads(act.content))))
            return act

        return spoiled

    one = read_captions(["A red bear, <bo>."], [REFERENCES[0]], images=[PICTURES[0]])
    with exact(wrap) as (judge, server):
        metric = dcscore(judge, "judge", match=2, verify=3)
        values = column_scores(metric, metric.statistics(one))
    assert seeds == {"Take a caption": {0}, "Two lists": {0, 1000}, "Check facts": {0, 1000, 2000}}
    assert len(server.bodies) == 2 + 2 + 3  # two texts to take apart
    # Three facts of 15 (two beings of seven, and the beach); unmatched ones are new: 3 of 18.
    assert values["dcscore_precision"].item() == pytest.approx(100)
    assert values["dcscore_recall"].item() == pytest.approx(100 * (3 / 15 + 3 / 18) / 2)


def test_without_pictures_a_fact_is_right_if_the_references_say_it() -> None:
    with exact() as (judge, server):
        rows = dcscore(judge, "judge").statistics(replace(captions(), images=None))
        assert not any("Check facts" in json.dumps(body) for body in server.bodies)
        assert rows[:, :-2] == pytest.approx(dcscore(None, "grammar").statistics(captions()))
        with pytest.raises(MetricFailed, match="no caption has its picture"):
            arena(judge, "judge").statistics(replace(captions(), images=None))


def failing(*parts: str) -> Wrap:
    """A judge that is down for questions with one of these texts."""

    def wrap(play: Callable) -> Callable:
        def spoiled(body: dict[str, Any], index: int) -> Act:
            text = json.dumps(body, ensure_ascii=False)
            return Act(status=400) if any(part in text for part in parts) else play(body, index)

        return spoiled

    return wrap


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (dcscore, "It adds depth"),  # the extraction of one caption, or its other steps
        (dcscore, "|colour|blue"),
        (caption_qa, "It adds depth"),
        (arena, "It adds depth"),
    ],
)
def test_a_caption_without_a_verdict_has_no_value(
    make: Callable[..., JudgedMetric], part: str, caplog: pytest.LogCaptureFixture
) -> None:
    with exact(failing(part)) as (judge, _):
        rows = make(judge, "judge").statistics(captions())
    expected = make(None, "grammar").statistics(captions())
    without = [i for i, row in enumerate(rows) if row[-2]]
    assert without
    assert len(without) < len(rows)
    assert not rows[without][:, :-2].any()
    assert (rows[without][:, -2:] == [100, 1]).all()
    others = [i for i in range(len(rows)) if i not in without]
    assert rows[others][:, :-2] == pytest.approx(expected[others])
    assert f"{len(without)} of 9 captions have no value" in caplog.text


@pytest.mark.parametrize("make", METRICS)
def test_a_judge_that_is_down_leaves_the_metric_out(make: Callable[..., JudgedMetric]) -> None:
    with (
        exact(failing("")) as (judge, _),
        pytest.raises(MetricFailed, match=r"the judge has answered none of \d+ questions"),
    ):
        make(judge, "judge").statistics(captions())
    assert make(None, "judge").missing() == "no model is asked: choose judge=openai or judge=local"
    assert make(judge, "judge").missing() is None
