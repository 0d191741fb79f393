"""Score captions that exist, each file by itself; no model is needed, and none is made."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Predicate

from repic.data.concepts import read_known_names
from repic.data.images import FileImage
from repic.files import at, below
from repic.metrics.caption_files import (
    CaptionSet,
    read_caption_sets,
    read_references,
    with_references,
)
from repic.metrics.captions.metric import Captions
from repic.metrics.kept import score
from repic.metrics.naming import KnownNames
from repic.metrics.paper_names import VARIANTS, variant_for
from repic.metrics.rescoring import PROTOCOLS, CaptionRecord, score_captions
from repic.metrics.suite import STANDARD, MetricSuite
from repic.tables.rescoring_table import Rescored
from repic.values import Text, nearest

log = logging.getLogger(__name__)

BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """Names by one protocol or by both, length, and caption metrics.

    Metrics that need references, infos or pictures are computed where there are some.

    Attributes:
        captions: a caption file, or a folder of them.
        protocol: of names: "paper", "robust" or "both".
        variant: of the paper's protocol: "single", "two" or "four"; None follows the number of
            names a caption.
        database: a concept database for the robust protocol, and for what prompts said of those
            whom a caption should name; None knows only the file's names.
        references: a file with reference captions by image; None takes those of the file.
        images: the folder below which the file's images lie; None: they are not at hand.
        metrics: the caption metrics, and the bootstrap of all.
    """

    captions: Text | None
    protocol: Annotated[str, Predicate((*PROTOCOLS, BOTH).__contains__)]
    variant: Annotated[str, Predicate(VARIANTS.__contains__)] | None
    database: Text | None
    references: Text | None
    images: Text | None
    metrics: MetricSuite

    def __call__(self) -> list[Rescored]:
        """Return a row for each set of captions and protocol.

        Raises:
            ValueError: a setting or a file is not right.
        """
        self.check()
        known = KnownNames() if self.database is None else read_known_names(Path(self.database))
        sets = read_caption_sets(Path(str(self.captions)))
        if self.references is not None:
            references = read_references(Path(self.references))
            sets = [with_references(found, references) for found in sets]
        sets = [with_infos(found, known.infos) for found in sets]
        rows = []
        for found in sets:
            if known.aliases:
                refuse_unknown_names(found, known, str(self.database))
            rows += self.score(found, known)
        return rows

    def check(self) -> None:
        """Refuse settings that are none, before any file is read."""
        if not self.captions:
            raise ValueError("captions: say which file or folder to score: captions=<path>")
        self.metrics.scorer.check()

    def score(self, found: CaptionSet, known: KnownNames) -> list[Rescored]:
        """Score one set by the protocols that were asked for."""
        targets = [record.targets for record in found.records]
        variant = VARIANTS[self.variant] if self.variant else variant_for(targets)
        captions = self.read(found)
        drawn = self.metrics.resampling
        chosen = [name for name in self.metrics.scorer.metrics if name not in STANDARD]
        others = score(
            self.metrics.scorer.measure(captions, chosen) if chosen else {},
            [record.image for record in found.records],
            **drawn,
        )
        rows = []
        for protocol in PROTOCOLS if self.protocol == BOTH else (self.protocol,):
            named = score_captions(
                captions, protocol=protocol, variant=variant, known=known, **drawn
            )
            rows.append(
                Rescored(
                    label=found.label,
                    variant=variant.label,
                    protocol=protocol,
                    num_captions=len(found.records),
                    num_images=len({record.image for record in found.records}),
                    score=named,
                    captions=others,
                    columns=self.metrics.columns,
                    left_out=dict(self.metrics.scorer.left_out),
                )
            )
        return rows

    def read(self, found: CaptionSet) -> Captions:
        """Tokenize a set, and find its images.

        Raises:
            ValueError: an image is not there.
        """
        images = None
        if self.images is not None:
            images = [find_picture(self.images, record) for record in found.records]
        return Captions.read(
            [record.text for record in found.records],
            [record.references for record in found.records],
            [record.infos for record in found.records],
            tokenize=self.metrics.scorer.tokenize,
            images=images,
            keys=[record.key for record in found.records],
            pools=[record.pool for record in found.records],
        )


def find_picture(folder: str, record: CaptionRecord) -> FileImage:
    """Return a caption's picture; refuse one that is not there."""
    trusting = "name a folder above both as phase.rescore.images"
    with at(record.place):
        image = FileImage(below(Path(folder), record.image, may_leave=False, key=trusting))
    if not image.path.is_file():
        raise ValueError(f"{record.place}: there is no image {image.path}")
    return image


def with_infos(found: CaptionSet, infos: Mapping[str, str]) -> CaptionSet:
    """Give captions without infos those that a database has of the names in their prompts.

    The prompt introduces the pool; in the published files, which do not tell, the targets.
    """
    records = []
    for record in found.records:
        names = record.targets if record.pool is None else record.pool
        said = tuple(infos[name] for name in names if infos.get(name))
        records.append(record if record.infos else replace(record, infos=said))
    return CaptionSet(found.label, tuple(records))


def refuse_unknown_names(found: CaptionSet, known: KnownNames, database: str) -> None:
    """Raise for a target that the database does not have."""
    for record in found.records:
        for name in record.targets:
            if name not in known.aliases:
                hint = nearest(name, known.aliases) or "; mend the name or add it there"
                raise ValueError(f"{record.place}: {name!r} is not in {database}{hint}")
