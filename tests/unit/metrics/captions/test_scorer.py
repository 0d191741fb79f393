import logging
import math
import re
from pathlib import Path
from subprocess import CalledProcessError

import numpy as np
import pytest

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.diversity import Length
from repic.metrics.captions.metric import Captions, Metric, MetricFailed
from repic.metrics.captions.rouge import RougeL
from repic.metrics.captions.scorer import CaptionScorer
from repic.metrics.captions.spice import Spice
from repic.metrics.captions.tokens import one_line, ptb
from repic.metrics.column import ScoreColumn
from repic.metrics.kept import score
from tests.scores import column_scores, read_captions

SETTINGS = {"num_samples": 400, "confidence": 0.95, "seed": 0}


class Late(Metric):
    """Fails at the second set of captions."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("late", "late"))
        self.calls = 0

    def missing(self) -> str | None:
        return None

    def statistics(self, captions: Captions) -> np.ndarray:
        self.calls += 1
        if self.calls > 1:
            raise MetricFailed("its program fell over")
        return self.rows(np.ones(len(captions.texts)))


class Absent(Late):
    def missing(self) -> str | None:
        return "it needs something"


def scorer(*chosen: str, **more) -> CaptionScorer:
    scorers = {"bleu": Bleu(), "rouge_l": RougeL(), "length": Length(), **more}
    return CaptionScorer(chosen=chosen, scorers=scorers, tokenizer="words")


TEXTS = ["a red bear sits", "a blue cat", "", "a red bear"]
REFERENCES = [["a red bear sits here"], ["the blue cat"], ["an owl"], ["a bear that is red"]]


def read(texts=TEXTS, references=REFERENCES) -> Captions:
    return read_captions(texts, references)


def test_columns_stand_in_the_order_they_were_asked_for() -> None:
    found = scorer("length", "cider", "bleu", "length")
    found_score = score(found.measure(read()), list("abcd"), **SETTINGS)
    assert list(found_score.values) == ["words", "bleu_1", "bleu_2", "bleu_3", "bleu_4"]
    assert found_score.values["words"] == 10 / 4
    for name, value in found_score.values.items():
        low, high = found_score.intervals[name]
        assert low <= value <= high


def test_a_resampled_bleu_is_that_of_the_resampled_captions() -> None:
    """Statistics of a cluster drawn twice are those of its captions, twice."""
    found = scorer("bleu")
    rows = found.measure(read())["bleu"].rows
    times = np.array([2, 0, 1, 1])
    drawn = [i for i, n in enumerate(times) for _ in range(n)]
    again = found.measure(read([TEXTS[i] for i in drawn], [REFERENCES[i] for i in drawn]))
    there = column_scores(Bleu(), again["bleu"].rows.sum(axis=0, keepdims=True))
    here = column_scores(Bleu(), (times @ rows)[None])
    assert {k: v.item() for k, v in here.items()} == pytest.approx(
        {k: v.item() for k, v in there.items()}
    )


def test_captions_of_one_image_are_one_cluster() -> None:
    found = scorer("rouge_l")
    rows = found.measure(read(TEXTS * 5, REFERENCES * 5))
    alike = score(rows, list("abcd") * 5, **SETTINGS).intervals["rouge_l"]
    apart = score(rows, range(20), **SETTINGS).intervals["rouge_l"]
    assert alike[1] - alike[0] > 1.5 * (apart[1] - apart[0])
    assert score(rows, ["a"] * 20, **SETTINGS).intervals == {}


def test_what_cannot_be_computed_is_said_once_and_left_out(caplog) -> None:
    found = scorer("absent", "late", "length", absent=Absent(), late=Late())
    with caplog.at_level(logging.WARNING):
        found.check()
        first = found.measure(read())
        second = found.measure(read())
    assert caplog.messages == [
        "absent is left out: it needs something",
        "late is left out: its program fell over",
    ]
    assert found.left_out == {"absent": "it needs something", "late": "its program fell over"}
    assert (list(first), list(second)) == (["late", "length"], ["length"])
    both = found.join([first, second])
    assert list(both) == ["length"]
    assert len(both["length"].rows) == 8


def test_without_references_only_the_others_are_shown() -> None:
    found = scorer("bleu", "rouge_l", "length")
    rows = found.measure(read(TEXTS, [[]] * 4))
    assert list(score(rows, range(4), **SETTINGS).values) == ["words"]


def test_nothing_chosen_and_nothing_to_score() -> None:
    found = scorer("cider")
    assert score(found.measure(read()), range(4), **SETTINGS).values == {}
    found = scorer("bleu")
    assert score(found.measure(read([], [])), [], **SETTINGS).values == {}


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    place = r"metrics\.captions, metrics\.also"
    with pytest.raises(ValueError, match=rf"{place}: 'blue' is not one of cider, bleu"):
        scorer("blue")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=r"metrics.tokenizer=ptb: it needs Java.*tokenizer=words"):
        CaptionScorer(chosen=[], scorers={}, tokenizer="ptb").check()


def test_lengths_must_agree_and_every_text_is_read_by_itself() -> None:
    with pytest.raises(ValueError, match="2 captions, but references for 1"):
        read(["a", "b"], [["a"]])
    calls = []

    def tokenize(texts):
        calls.append(list(texts))
        return [text.upper() for text in texts]

    found = Captions.read(["a", "b", "a"], [["b"], [], ["c"]], [["d"], [], []], tokenize=tokenize)
    assert calls == [["a", "b", "c", "d"]]
    assert found.words == ["A", "B", "A"]
    assert found.reference_words == [["B"], [], ["C"]]
    assert found.info_words == [["D"], [], []]


def test_every_end_of_a_line_becomes_a_space() -> None:
    ends = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
    assert {one_line(f"a{end}b") for end in ends} == {"a b"}
    assert one_line("") == ""


class FakeSpice:
    def compute_score(self, references, answers):
        assert references == {0: ["a dog runs"], 2: ["a cat"]}
        assert answers == {0: ["a dog"], 2: ["a cat"]}
        return 0.0, [{"All": {"f": 0.25}}, {"All": {"f": math.nan}}]


def test_spice_is_read_by_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repic.metrics.captions.spice.spice.Spice", FakeSpice)
    found = read(["a\rdog", "x", "a cat"], [["a dog\u2028runs"], [], ["a cat"]])
    rows = Spice().statistics(found)
    assert rows.tolist() == [[25, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize("error", [KeyError(2), OSError("full"), CalledProcessError(1, "java")])
def test_a_spice_that_fails_is_left_out(monkeypatch, error: Exception) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(FakeSpice, "compute_score", fail)
    monkeypatch.setattr("repic.metrics.captions.spice.spice.Spice", FakeSpice)
    with pytest.raises(MetricFailed, match="its jar"):
        Spice().statistics(read())


def test_a_penn_treebank_tokenizer_that_fails_is_one_sentence(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        OSError, match=r"^metrics.tokenizer=ptb: it needs Java.*=words does without"
    ):
        ptb(["a", "b"])
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho a\necho out of memory >&2\n")
    java.chmod(0o755)
    with pytest.raises(OSError, match=r"gave 1 lines for 2 captions \(out of memory\)"):
        ptb(["a", "b"])


def test_spice_is_never_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/java")
    monkeypatch.setattr("repic.metrics.captions.spice.FOLDER", tmp_path)
    reason = Spice().missing()
    assert reason is not None
    assert "stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar" in reason
    (tmp_path / "lib").mkdir()
    for end in ("", "-models"):
        (tmp_path / "lib" / f"stanford-corenlp-3.6.0{end}.jar").touch()
    assert Spice().missing() is None


def test_the_metric_of_the_documents_works() -> None:
    text = (Path(__file__).parents[4] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# my_metrics.py\n.*?)```", text, re.DOTALL)
    exec(code, found := {})  # what the reader copies
    metric = found["Exclaiming"]()
    own = scorer("exclaiming", exclaiming=metric)
    values = score(own.measure(read(["A!", "a", "", "!"])), "abcd", **SETTINGS).values
    assert values == {"exclaiming": 50.0}
    assert metric.columns[0].direction == "down"
