"""Recognition: does a caption name exactly the beings that are in the picture?

Accuracy is strict: those named are exactly those present, so that one name too many is as wrong
as one too few, and naming everybody fails wherever somebody is absent. Precision, recall and F1
are micro averages: names are counted over all captions before dividing.

What counts as said is stated in ``repic.metrics.names``; ``PaperNames`` reads captions as RePIC's
released evaluation does, ``repic.metrics.paper_names``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from repic.metrics.captions.metric import CaptionKey, Captions, Metric, ratio
from repic.metrics.column import ScoreColumn
from repic.metrics.names import Lexicon, NameCounts, count_names, english_words, lexicon_of
from repic.metrics.paper_names import Variant, count_paper_names, paper_pool, variant_for


@dataclass(frozen=True)
class KnownNames:
    """What a concept database says about names.

    Attributes:
        aliases: name -> other spellings; every name is a key.
        ordinary: words, beside those of English, that say a name only where it clearly is one.
        infos: name -> what is said of it.
    """

    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    ordinary: Collection[str] = ()
    infos: Mapping[str, str] = field(default_factory=dict)


def name_shares(sums: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, "S 4"]:
    """Accuracy, precision, recall and F1 in percent, of sums of ``NameCounts`` and captions.

    A share of no names is 0: the precision, where nobody is named.
    """
    exact, hits, false, missed, captions = 100 * sums.T
    shares = (
        ratio(exact, captions / 100),
        ratio(hits, (hits + false) / 100, empty=0.0),
        ratio(hits, (hits + missed) / 100, empty=0.0),
        ratio(2 * hits, (2 * hits + false + missed) / 100, empty=0.0),
    )
    return np.column_stack(shares)


class _Names(Metric):
    def __init__(self, prefix: str, label: str, *, shows_accuracy: bool) -> None:
        super().__init__(
            ScoreColumn(f"{prefix}accuracy", "acc", "up", "", is_shown=shows_accuracy),
            ScoreColumn(f"{prefix}precision", f"P {label}", "up", ""),
            ScoreColumn(f"{prefix}recall", f"R {label}", "up", ""),
            ScoreColumn(f"{prefix}f1", f"F1 {label}", "up", ""),
            values=name_shares,
        )


class Recognition(_Names):
    """Names as a person reads them.

    The pool is the names of the prompt (every target of the set, where those are not known) and of
    the database. Who is a target of another caption of the same image is in the picture: neither
    wanted nor wrong.

    Args:
        known: a database's names.
    """

    def __init__(self, known: KnownNames | None = None) -> None:
        super().__init__("", "robust", shows_accuracy=True)
        self.known = known or KnownNames()

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 5"]:
        keys = _keys(captions)
        everyone = tuple(sorted({name for key in keys for name in key.names}))
        in_picture: dict[str, set[str]] = {}
        for key in keys:
            in_picture.setdefault(key.image, set()).update(key.names)
        lexicons: dict[tuple[str, ...], Lexicon] = {}
        counts = []
        pools = captions.pools or [None] * len(keys)
        for text, key, pool in zip(captions.texts, keys, pools, strict=True):
            # Who is there and was not introduced (a retriever may miss somebody) can be named.
            pool = everyone if pool is None else tuple(dict.fromkeys((*pool, *key.names)))
            if pool not in lexicons:
                lexicons[pool] = self._lexicon(pool)
            elsewhere = in_picture[key.image].difference(key.names)
            counts.append(count_names(text, key.names, lexicons[pool], elsewhere=elsewhere))
        return _rows(counts)

    def _lexicon(self, pool: tuple[str, ...]) -> Lexicon:
        if not self.known.aliases and not self.known.ordinary:
            return lexicon_of(pool)
        names = dict.fromkeys([*self.known.aliases, *pool])
        ordinary = english_words().union(self.known.ordinary)
        return Lexicon(names, aliases=self.known.aliases, ordinary=ordinary)


class PaperNames(_Names):
    """Names as RePIC's released evaluation reads them; the pool is every target of the set.

    Args:
        variant: the script; None takes the one for as many names a caption.
    """

    def __init__(self, variant: Variant | None = None) -> None:
        super().__init__("paper_", "paper", shows_accuracy=False)
        self.variant = variant

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N 5"]:
        targets = [key.names for key in _keys(captions)]
        pool = paper_pool(targets, self.variant or variant_for(targets))
        pairs = zip(captions.texts, targets, strict=True)
        return _rows([count_paper_names(text, names, pool) for text, names in pairs])


def _rows(counts: Sequence[NameCounts]) -> Float[np.ndarray, "N 5"]:
    return np.array([(*count, 1) for count in counts], dtype=np.float64).reshape(-1, 5)


def _keys(captions: Captions) -> Sequence[CaptionKey]:
    assert captions.keys is not None, "who is in the picture is known wherever names are counted"
    return captions.keys
