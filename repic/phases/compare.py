"""Let a judge choose between two systems' captions of the same pictures; no model is trained.

RePIC (https://arxiv.org/abs/2506.18369) asks GPT-4o and Gemini so, always with its own caption
second. Here both orders are asked, and a choice that changes with the order is a tie.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repic.data.concepts import read_known_names
from repic.judges.questions import CaptionPair, Preference
from repic.metrics.caption_files import CaptionSet, read_system
from repic.metrics.captions.metric import MetricFailed
from repic.metrics.captions.pairs import PairJudge
from repic.metrics.captions.preferences import count_preferences
from repic.metrics.captions.same_picture import partners
from repic.metrics.rescoring import CaptionRecord
from repic.metrics.suite import MetricSuite
from repic.phases.rescore import find_picture, with_infos
from repic.tables.preferences_table import ALL, Compared
from repic.values import Text

_MOST_NAMED = 3  # captions that a complaint names


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Which of two systems' captions are preferred, over all and by number of names.

    Attributes:
        captions: a caption file, or a folder of them.
        against: the same of the other system.
        system: which one's captions to take where a predictions.jsonl holds several.
        against_system: the same of ``against``.
        database: a concept database, for what is known of those whom a caption should name.
        images: the folder below which the captions' images lie; None: not at hand.
        exact: the judge where no model is asked.
        model: asks a model, if there is one.
        metrics: the bootstrap.
    """

    captions: Text | None
    against: Text | None
    system: Text | None
    against_system: Text | None
    database: Text | None
    images: Text | None
    exact: PairJudge
    model: PairJudge
    metrics: MetricSuite

    def __call__(self) -> Compared:
        """Judge every pair.

        Raises:
            ValueError: a setting or a file is not right, a caption has no partner, or the judge
                does not know enough of a pair.
        """
        self.check()
        ours = self.read(self.captions, "system", self.system)
        theirs = self.read(self.against, "against_system", self.against_system)
        places = find_partners(ours, theirs)
        opponents = [theirs.records[place] for place in places]
        pairs = [self.pair(*both) for both in zip(ours.records, opponents, strict=True)]
        try:
            verdicts = self.judge(ours, pairs)
        except MetricFailed as error:
            raise ValueError(f"{error}; the log says why") from error
        numbers = [len(record.targets) for record in ours.records]
        groups = {ALL: list(range(len(pairs)))}
        for number in sorted(set(numbers)):
            groups[str(number)] = [i for i, n in enumerate(numbers) if n == number]
        if len(groups) == 2:
            del groups[str(numbers[0])]  # the same as all
        rows = {
            name: count_preferences(
                [verdicts[i] for i in group],
                [ours.records[i].image for i in group],
                **self.metrics.resampling,
            )
            for name, group in groups.items()
            if name == ALL or any(verdicts[i] is not None for i in group)
        }
        return Compared(ours.label, theirs.label, "a model" if self.asks_model else "exact", rows)

    @property
    def asks_model(self) -> bool:
        return self.model.missing() is None

    def check(self) -> None:
        """Refuse settings that are none, before any file is read."""
        for key, value in (("captions", self.captions), ("against", self.against)):
            if not value:
                raise ValueError(f"{key}: say whose captions to compare: {key}=<file or folder>")

    def read(self, path: str | None, key: str, system: str | None) -> CaptionSet:
        """Read one side as one set; ``key`` chooses its system, see ``read_system``."""
        records = read_system(Path(str(path)), system, f"phase.compare.{key}")
        found = CaptionSet(f"{path} {system or ''}".strip(), tuple(records))
        if self.database is None:
            return found
        return with_infos(found, read_known_names(Path(self.database)).infos)

    def pair(self, first: CaptionRecord, second: CaptionRecord) -> CaptionPair:
        """Put two captions of one picture together."""
        picture = None if self.images is None else find_picture(self.images, first)
        return CaptionPair(
            first.text,
            second.text,
            first.references or second.references,
            first.targets,
            first.infos or second.infos,
            picture,
        )

    def judge(self, ours: CaptionSet, pairs: Sequence[CaptionPair]) -> list[Preference | None]:
        """Ask the model if there is one, the exact judge otherwise."""
        judge = self.model if self.asks_model else self.exact
        for record, pair in zip(ours.records, pairs, strict=True):
            if not judge.applies(pair):
                mend = (
                    "say the folder of the pictures: phase.compare.images=<folder>"
                    if self.asks_model
                    else "these captions need a model: judge=openai or judge=local"
                )
                raise ValueError(f"{record.place}: does not have {judge.needs}; {mend}")
        return judge.prefer(pairs)


def find_partners(ours: CaptionSet, theirs: CaptionSet) -> list[int]:
    """Return for each caption the place of the other system's.

    Raises:
        ValueError: some caption, on either side, has none.
    """
    keys = [record.key for record in ours.records], [record.key for record in theirs.records]
    places = partners(*keys)
    lonely = [r for r, place in zip(ours.records, places, strict=True) if place is None]
    left_over = [r for i, r in enumerate(theirs.records) if i not in set(places)]
    sides = ((ours, lonely, theirs), (theirs, left_over, ours))
    for side, alone, other in sides:
        if alone:
            some = "; ".join(
                f"{record.image} with {', '.join(record.targets) or 'no names'} ({record.place})"
                for record in alone[:_MOST_NAMED]
            )
            more = f" and {len(alone) - _MOST_NAMED} more" if len(alone) > _MOST_NAMED else ""
            raise ValueError(
                f"{other.label} has no caption of {some}{more}, but {side.label} has;"
                " compare the same pictures, names and prompts"
            )
    return [place for place in places if place is not None]
