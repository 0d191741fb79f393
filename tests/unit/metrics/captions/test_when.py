"""Names by frame, worked by hand."""

import numpy as np
import pytest

from repic.metrics.captions.metric import Captions
from repic.metrics.captions.when import When, pair_shares, seen
from repic.metrics.names import Lexicon
from tests.scores import corpus, read_captions

POOL = ("<Bo>", "<Mi>", "<Zu>")
# Bo at 1 and 3 s, Mi at 5 s; nobody at 7 s.
ANSWERS = (
    "A bear, <Bo>, from 1 s to 3 s. A cat, <Mi>, at 5 s.",
    "At 1 s there is <Bo>. At 3 s there is <Bo>. At 5 s there is <Mi>. At 7 s there is nobody.",
)


def captions(*texts: str, answers: tuple[str, ...] = ANSWERS) -> Captions:
    return read_captions(texts, [answers] * len(texts), pools=[POOL] * len(texts))


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (ANSWERS[0], "bo1 bo3 mi5"),
        (ANSWERS[1], "bo1 bo3 mi5"),
        ("At 1 s there are Bo and Mi, at 3 s only Mi.", "bo1 mi1 mi3"),
        ("Bo is there from 1 to 3 seconds, Mi and Zu at 5 s and 7 s.", "bo1 bo3 mi5 mi7 zu5 zu7"),
        ("Bo sits by Mi. At 4.2 s a ball.", "bo1 bo3 bo5 bo7 mi1 mi3 mi5 mi7"),
        ("Bo at 4.2 s, <zaza> at 30 s.", "bo5 zaza7"),
        ("Bo from 5 s on. Mi until 1 s. Zu from 9 s.", "bo5 bo7 mi1 zu7"),
        ("Between 3 s and 5 s Zu appears.", "zu3 zu5"),
        ("Zu at 1 s, with Mi.", "mi1 mi3 mi5 mi7 zu1"),
        ("Nobody at 1 s.", ""),
    ],
)
def test_whom_a_caption_says_to_be_there_when(text: str, pairs: str) -> None:
    found = {
        f"{name.strip('<>')}{second:g}" for name, second in seen(text, Lexicon(POOL), [1, 3, 5, 7])
    }
    assert found == set(pairs.split())


def test_shares_of_pairs() -> None:
    # Right 3, 2 and 0 of 3; wrong 0, 2 (Bo at 5 and 7 s) and 0.
    texts = (ANSWERS[0], "Bo.", "")
    rows = When().statistics(captions(*texts))
    assert rows.tolist() == [[3, 0, 0, 1], [2, 2, 1, 1], [0, 0, 3, 1]]
    assert corpus(When(), captions(*texts)) == pytest.approx(
        {"when_precision": 100 * 5 / 7, "when_recall": 100 * 5 / 9, "when_f1": 100 * 10 / 16}
    )


def test_captions_of_stills_have_no_frames() -> None:
    rows = When().statistics(captions("Bo.", answers=("A bear, <Bo>, on the left.",)))
    assert np.isnan(pair_shares(rows)).all()
