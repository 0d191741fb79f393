"""Arena: is a caption better than fixed baselines' captions of the same picture?

CapArena-Auto, https://arxiv.org/abs/2503.12329: a judge that sees picture and reference chooses;
+1 for a win, -1 for a loss, 0 for a tie; the sum over 200 pictures by 2, the mean of three
baselines: from -100 to 100, which is 100 times the mean over pairs, and so computed here for any
number of pictures. There the order is drawn by chance; here both are asked, and a choice that
changes with the order is a tie.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from repic.judges.questions import CaptionPair, Preference
from repic.metrics.caption_files import read_caption_sets
from repic.metrics.captions.judging import WHO_JUDGES, JudgedMetric, Outcome, mean_outcome
from repic.metrics.captions.metric import CaptionKey, Captions, MetricFailed
from repic.metrics.captions.pairs import PairJudge
from repic.metrics.captions.same_picture import partners
from repic.metrics.column import JUDGES, ScoreColumn
from repic.values import Text

KEY = "metrics.scorers.arena"
REFERENCE = "reference"
_NOTE = (
    "arena: wins less losses against the baselines, from -100 to 100; turns: choices that change"
    " with the order, in %."
)


class Arena(JudgedMetric[PairJudge]):
    """Columns ``arena``, from -100 to 100, and ``arena_inconsistent``, % of changing choices.

    Args:
        baselines: files of captions, see ``repic.metrics.caption_files`` (each system of a
            predictions.jsonl is one); "reference" stands for the longest reference caption.
        source: which of the judges.
        sources: judges by name.
    """

    def __init__(
        self, *, baselines: Sequence[Text], source: Text, sources: Mapping[str, PairJudge]
    ) -> None:
        super().__init__(
            ScoreColumn("arena", "arena", "up", JUDGES, (_NOTE, WHO_JUDGES)),
            ScoreColumn("arena_inconsistent", "turns", "none", JUDGES),
            key=KEY,
            source=source,
            sources=sources,
        )
        self.baselines = tuple(baselines)

    def missing(self) -> str | None:
        if not self.baselines:
            return f"set {KEY}.baselines to files of captions, or to [{REFERENCE}]"
        assert self.systems is not None  # read now: a bad row shall not be found after training
        return self.source.missing()

    def outcomes(self, captions: Captions) -> list[Outcome | None]:
        pairs = [
            (i, pair)
            for opponents in self._opponents(captions)
            for i, pair in _pairs(captions, opponents)
            if self.source.applies(pair)
        ]
        found: dict[int, list[Preference | None]] = {}
        verdicts = self.source.prefer([pair for _, pair in pairs])
        for (i, _), verdict in zip(pairs, verdicts, strict=True):
            found.setdefault(i, []).append(verdict)
        return [
            mean_outcome(list(map(_scores, found[i]))) if i in found else None
            for i in range(len(captions.texts))
        ]

    def _opponents(self, captions: Captions) -> Iterator[Sequence[str | None]]:
        """Each baseline's captions, in the order of ours.

        Raises:
            MetricFailed: a file has none of a picture.
        """
        if REFERENCE in self.baselines:
            yield [max(group, key=len, default=None) for group in captions.references]
        keys = captions.keys
        for label, others in self.systems.items():
            if keys is None:
                raise MetricFailed("it is not known which pictures the captions are of")
            try:
                places = partners(keys, list(others))
            except ValueError as error:
                raise MetricFailed(f"{label}: {error}") from error
            lacking = [key.image for key, place in zip(keys, places, strict=True) if place is None]
            if lacking:
                raise MetricFailed(
                    f"{label} has no caption of {len(lacking)} of {len(keys)} pictures and names,"
                    f" such as {lacking[0]!r}"
                )
            theirs = list(others.values())
            yield [None if place is None else theirs[place] for place in places]

    @cached_property
    def systems(self) -> dict[str, dict[CaptionKey, str]]:
        """Captions by what they are of, by file and system."""
        systems: dict[str, dict[CaptionKey, str]] = {}
        for file in (name for name in self.baselines if name != REFERENCE):
            try:
                sets = read_caption_sets(Path(file))
            except ValueError as error:
                raise ValueError(f"{KEY}.baselines: {error}") from error
            for record in (record for found in sets for record in found.records):
                captions = systems.setdefault(f"{file} {record.system or ''}".strip(), {})
                if record.key in captions:
                    raise ValueError(
                        f"{record.place}: a second caption of {record.image!r}; remove one"
                    )
                captions[record.key] = record.caption
        return systems


def _pairs(
    captions: Captions, opponents: Sequence[str | None]
) -> Iterator[tuple[int, CaptionPair]]:
    for i, (text, opponent) in enumerate(zip(captions.texts, opponents, strict=True)):
        if opponent is not None:
            yield (
                i,
                CaptionPair(
                    text,
                    opponent,
                    tuple(captions.references[i]),
                    captions.keys[i].names if captions.keys else (),
                    tuple(captions.infos[i]),
                    captions.images[i] if captions.images else None,
                ),
            )


def _scores(verdict: Preference | None) -> tuple[float, float] | None:
    return None if verdict is None else (2 * verdict.score - 1, float(not verdict.is_consistent))
