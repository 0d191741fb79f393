import numpy as np
import pytest

from repic.metrics.captions.meteor import Meteor, meteor, without_whole
from repic.metrics.captions.metric import Captions, MetricFailed
from tests.scores import column_scores, read_captions

# "a cat sits" with "the cat is here", as the jar aligns them: cat exactly, "sits" and "is" by
# paraphrase.
COUNTS = [3, 4, 1, 2, 1, 1, *[0] * 10, 1, 0, 0, 1, 1, 2, 2]


def test_worked_by_hand() -> None:
    # Content words weigh 0.75, function words 0.25; exact matches 1, paraphrases 0.6.
    caption = 0.75 * (1 + 0.6 * 1)
    reference = 0.75 * 1 + 0.25 * 0.6 * 1
    precision = caption / (0.75 * 2 + 0.25 * 1)
    recall = reference / (0.75 * 2 + 0.25 * 2)
    mean = 1 / (0.15 / precision + 0.85 / recall)
    expected = mean * (1 - 0.6 * (1 / 2) ** 0.2)
    assert meteor(np.array([COUNTS], dtype=float)).item() == pytest.approx(expected)
    assert expected == pytest.approx(0.2266, abs=1e-4)


def test_a_whole_match_has_no_penalty_and_nothing_has_nothing() -> None:
    whole = [4.0, 4.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0, *[0.0] * 12, 1.0, 4.0, 4.0]
    parted = [*whole[:20], 2.0, 4.0, 4.0]
    assert without_whole(parted) == parted
    rows = np.array([without_whole(whole), whole, [0.0] * 23, [2.0, 0.0, 1.0, *[0.0] * 20]])
    assert meteor(rows) == pytest.approx([1, 1 - 0.6 * (1 / 4) ** 0.2, 0, 0])


class Jar:
    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, []

    def _stat(self, text: str, references: list[str]) -> str:
        self.asked.append((text, references))
        return self.answer


def test_without_references_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repic.metrics.captions.meteor.judge.Meteor", None)
    rows = Meteor().statistics(read_captions(["a cat"]))
    assert np.isnan(column_scores(Meteor(), rows)["meteor"]).all()


@pytest.mark.parametrize("answer", ["", "1 2 3", "Error: out of memory"])
def test_an_answer_that_is_none_is_a_failure(monkeypatch, answer: str) -> None:
    monkeypatch.setattr("repic.metrics.captions.meteor._start", cached(Jar(answer)))
    with pytest.raises(MetricFailed, match="its jar failed"):
        Meteor().statistics(read_captions(["a cat"], [["a cat"]]))


def test_what_the_jar_takes_for_its_own_marks_is_taken_out(monkeypatch) -> None:
    jar = Jar(" ".join(f"{count}.0" for count in COUNTS))
    monkeypatch.setattr("repic.metrics.captions.meteor._start", cached(jar))
    found = Captions(
        ["x"], [["y"]], [[]], None, ["a ||| b\rc\u2028d <\ud83d> ||||"], [["e|||f\x0cg", ""]], [[]]
    )
    Meteor().statistics(found)
    assert jar.asked == [("a b c d <?> |", ["e f g", ""])]


def cached(jar: Jar):
    def start() -> Jar:
        return jar

    start.cache_clear = lambda: None  # pyright: ignore[reportFunctionMemberAccess]
    return start


def test_java_is_missed_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert Meteor().missing() == (
        "it needs Java, and there is none here (Debian: apt-get install default-jre-headless)"
    )
