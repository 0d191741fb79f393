"""Of clips: is everybody named at the times at which they are there, and at no other?

The frames are those whose times the references say; a pair of a name and a frame is right if a
reference says it. Precision, recall and F1 are micro averages over pairs. How times are read:

1. In a sentence that begins with a time, names have the time before them: "At 1 s there are Bo
   and Mi, at 3 s only Mi."
2. In one that begins with a name, they have the times that follow the name, or the names that
   stand together: "Bo is there from 1 s to 5 s, Mi and Ana at 3 s and 7 s."
3. A time that lies between two frames is the nearest one's.
4. A name without a time is said of every frame.

The reward of the same purpose, ``repic.rewards.presence``, reads by sentences alone.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import Captions, Metric, ratio
from repic.metrics.column import ScoreColumn
from repic.metrics.names import Lexicon, key_of, lexicon_of
from repic.parsing import Time, find_times

TABLE = "of clips: who is there when"
_NOTE = (
    "P, R, F1 by frame: pairs of a name and a frame, of clips whose references say who is in which"
    " frame, in %."
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


def pair_shares(sums: Float[np.ndarray, "S 4"]) -> Float[np.ndarray, "S 3"]:
    """Precision, recall and F1 in percent, of sums of right, false and missed pairs, and clips.

    NaN where there is no clip; a precision of nothing said is 0.
    """
    right, false, missed, clips = sums.T
    shares = (
        ratio(100 * right, right + false, empty=0.0),
        ratio(100 * right, right + missed, empty=0.0),
        ratio(200 * right, 2 * right + false + missed, empty=0.0),
    )
    return np.where(clips[:, None] > 0, np.column_stack(shares), np.nan)


class When(Metric):
    """Columns ``when_precision``, ``when_recall`` and ``when_f1``; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__(
            ScoreColumn("when_precision", "P by frame", "up", TABLE, (_NOTE,)),
            ScoreColumn("when_recall", "R by frame", "up", TABLE),
            ScoreColumn("when_f1", "F1 by frame", "up", TABLE),
            values=pair_shares,
        )

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 4"]:
        """A row for each caption: right, false and missed pairs, and 1 if it is of a clip."""
        rows = np.zeros((len(captions.texts), 4))
        pools = captions.pools or [()] * len(rows)
        for i, (text, references, pool) in enumerate(
            zip(captions.texts, captions.references, pools, strict=True)
        ):
            times = [time for reference in references for time in find_times(reference)]
            seconds = sorted({second for time in times for second in (time.begin, time.end)})
            if not seconds or pool is None:
                continue
            lexicon = lexicon_of(pool)
            truth = {pair for text in references for pair in seen(text, lexicon, seconds)}
            said = set(seen(text, lexicon, seconds))
            rows[i] = len(said & truth), len(said - truth), len(truth - said), 1
        return rows


def seen(caption: str, lexicon: Lexicon, seconds: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield whom a caption says to be there at which of a clip's times; some pairs repeatedly.

    Names are keys (``names.key_of``), and inventions in brackets.

    Example:
        >>> sorted(seen("Bo at 3 s.", Lexicon(["<Bo>"]), [1, 3]))
        [('bo', 3)]
    """
    for sentence in _SENTENCE_END.split(caption):
        for names, times in _groups(sentence, lexicon):
            there = {second for time in times for second in _covered(time, seconds)}
            for name in names:
                yield from ((name, second) for second in (there if times else seconds))


def _groups(sentence: str, lexicon: Lexicon) -> Iterator[tuple[list[str], list[Time]]]:
    """Names that stand together, with their times."""
    marks = [(t.start, t) for t in find_times(sentence)]
    marks += [(span.start, key_of(span.name)) for span in lexicon.spans(sentence)]
    names: list[str] = []
    times: list[Time] = []
    last: type | None = None
    for _, mark in sorted(marks, key=lambda pair: pair[0]):
        kind = type(mark)
        if names and times and kind is not last:  # both parts of a group are there
            yield names, times
            names, times = [], []
        if isinstance(mark, Time):
            times.append(mark)
        else:
            names.append(mark)
        last = kind
    yield names, times


def _covered(time: Time, seconds: Sequence[float]) -> list[float]:
    inside = [second for second in seconds if time.begin <= second <= time.end]
    middle = (time.begin + min(time.end, max(time.begin, seconds[-1]))) / 2
    return inside or [min(seconds, key=lambda second: abs(second - middle))]
