"""The tables of captions that were scored anew."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repic.metrics.column import ScoreColumn
from repic.metrics.rescoring import METRICS
from repic.metrics.statistics import FEW_CLUSTERS, Score
from repic.tables.estimates import Estimate
from repic.tables.layouts import grouped, left_out_note
from repic.tables.table import Column, Row, Table

TITLE = "Captions, scored anew"
NOTE = (
    "P, R, F1: precision, recall and F1 of names, in %; acc: captions that name exactly those"
    " present, in %. [low, high]: bootstrap interval over images. protocol=paper is RePIC's"
    " released evaluation: a token must be the name, names of two words are never found, and a"
    " wrong name counts only in a caption that leaves a right one out. protocol=robust finds names"
    " in any spelling (several words, aliases, possessives, with or without brackets), and every"
    " name of somebody absent, or bracketed name of nobody, is an error; a name that is an ordinary"
    " word counts in brackets, or where it clearly is a name. The variant is the released script"
    " for as many names a caption (phase.rescore.variant chooses another); robust has no variants."
)
FEW_IMAGES = (
    f"Intervals over fewer than {FEW_CLUSTERS} images are too narrow: over 4, a 95 % interval holds"
    " the truth some 80 times in 100. One image has none."
)
LABELS = dict(zip(METRICS, ("P", "R", "F1", "acc", "CIDEr", "words"), strict=True))
CAPTIONS = Column("set of captions", key="captions", kind="text")
ASIDES = (
    Column("variant", kind="text"),
    Column("protocol", kind="text"),
    Column("captions", key="num_captions", kind="number"),
    Column("images", key="num_images", kind="number"),
)


@dataclass(frozen=True)
class Rescored:
    """One set of captions by one protocol.

    Attributes:
        score: names, CIDEr and length.
        captions: the other caption metrics, which are the same by all protocols.
        columns: what those say of their columns.
        left_out: caption metric -> why it could not be computed.
    """

    label: str
    variant: str
    protocol: str
    num_captions: int
    num_images: int
    score: Score
    captions: Score = field(default_factory=lambda: Score({}, {}))
    columns: tuple[ScoreColumn, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def estimate(self, metric: str) -> Estimate | None:
        """A metric with its interval; None where there is no value."""
        found = self.score if metric in self.score.values else self.captions
        value = found.values.get(metric, math.nan)
        if math.isnan(value):
            return None
        low, high = found.intervals.get(metric, (math.nan, math.nan))
        return Estimate(value, low, high, num_seeds=1)


def rescoring_tables(rows: Sequence[Rescored]) -> list[Table]:
    """Names, CIDEr and length of each set by each protocol; then each set's other metrics."""
    sets = list({row.label: row for row in rows}.values())
    left_out = {name: why for row in sets for name, why in row.left_out.items()}
    has_few = any(row.num_images < FEW_CLUSTERS for row in rows)
    others = dict.fromkeys(name for row in sets for name in row.captions.values)
    for name in METRICS:
        others.pop(name, None)  # the first table has it
    columns = [Column(label, key=metric) for metric, label in LABELS.items()]
    columns += [Column(name, is_for_programs=True) for name in others]
    first = Table(
        title=TITLE,
        columns=columns,
        rows=[
            Row(
                row.label,
                tuple(map(row.estimate, (*METRICS, *others))),
                (row.variant, row.protocol, row.num_captions, row.num_images),
            )
            for row in rows
        ],
        note=f"{NOTE} {FEW_IMAGES}" if has_few else NOTE,
        row_column=CAPTIONS,
        asides=ASIDES,
        details={"left_out": left_out},
    )
    tables = [first]
    declared = [column for row in sets for column in row.columns]
    for i, (title, shown, note) in enumerate(grouped(declared, others)):
        tables.append(
            Table(
                title=f"Captions {title}",
                columns=[Column(c.label, key=c.name, digits=c.digits) for c in shown],
                rows=[Row(row.label, tuple(row.estimate(c.name) for c in shown)) for row in sets],
                note=note if i else f"{note} {left_out_note(left_out)}".strip(),
                row_column=CAPTIONS,
            )
        )
    return tables
