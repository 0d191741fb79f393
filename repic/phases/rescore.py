"""Score captions that exist, each file by itself; no model is needed, and none is made."""

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path

from repic.data.concepts import read_known_names
from repic.metrics.paper_names import VARIANTS, variant_for
from repic.metrics.rescoring import PROTOCOLS, KnownNames, record_cider, score_captions
from repic.report.captions import CaptionSet, read_caption_sets, read_references, with_references
from repic.report.rescored import Rescored

log = logging.getLogger(__name__)

BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Rescore:
    """Names by one protocol or by both, CIDEr where there are references, and length.

    Attributes:
        captions: a caption file, or a folder of them.
        protocol: of names: "paper", "robust" or "both".
        variant: of the paper's protocol: "single", "two" or "four"; None follows the number of
            names a caption.
        database: a concept database for the robust protocol; None knows only the file's names.
        references: a file with reference captions by image; None takes those of the file.
        bootstrap_samples: resamplings of the images behind each interval.
        confidence: of the intervals, between 0 and 1.
        seed: of the resampling.
    """

    captions: str | None
    protocol: str
    variant: str | None
    database: str | None
    references: str | None
    bootstrap_samples: int
    confidence: float
    seed: int

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
        if self.protocol not in (*PROTOCOLS, BOTH):
            raise ValueError(f"protocol: {self.protocol!r} is not paper, robust or both")
        if self.variant is not None and self.variant not in VARIANTS:
            options = ", ".join(VARIANTS)
            raise ValueError(f"phase.rescore.variant: {self.variant!r} is not one of {options}")

    def score(self, found: CaptionSet, known: KnownNames) -> list[Rescored]:
        """Score one set by the protocols that were asked for."""
        targets = [record.targets for record in found.records]
        variant = VARIANTS[self.variant] if self.variant else variant_for(targets)
        cider = record_cider(found.records)
        rows = []
        for protocol in PROTOCOLS if self.protocol == BOTH else (self.protocol,):
            score = score_captions(
                found.records,
                protocol=protocol,
                variant=variant,
                known=known,
                num_samples=self.bootstrap_samples,
                confidence=self.confidence,
                seed=self.seed,
                cider=cider,
            )
            rows.append(
                Rescored(
                    label=found.label,
                    variant=variant.label,
                    protocol=protocol,
                    num_captions=len(found.records),
                    num_images=len({record.image for record in found.records}),
                    score=score,
                )
            )
        return rows


def refuse_unknown_names(found: CaptionSet, known: KnownNames, database: str) -> None:
    """Raise for a target that the database does not have."""
    for record in found.records:
        for name in record.targets:
            if name not in known.aliases:
                close = difflib.get_close_matches(name, known.aliases, n=1)
                hint = f"; did you mean {close[0]}?" if close else "; mend the name or add it there"
                raise ValueError(f"{record.place}: {name!r} is not in {database}{hint}")
