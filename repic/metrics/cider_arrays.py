"""CIDEr-D over arrays: the numbers of ``repic.metrics.cider``, for ten thousand captions.

https://arxiv.org/abs/1411.5726, section 4, as pycocoevalcap 1.2 computes it: n-grams of one to
four words, clipped, a Gaussian (sigma 6) of the difference in bigrams, mean over references. The
judge takes a Python object for each n-gram of each text; here each is a number in one array. The
tests hold both equal to 1e-9.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from repic.metrics.cider import SCALE

ORDERS = 4
SIGMA = 6.0
_TEN = 10.0  # CIDEr-D's factor

Array = np.ndarray


class _Entries(NamedTuple):
    """The different n-grams of every text, ordered by text and n-gram."""

    text: Int[Array, " E"]
    gram: Int[Array, " E"]
    weight: Float[Array, " E"]


def fast_cider_scores(
    preds: Sequence[str],
    targets: Sequence[Sequence[str]],
    known: Float[Array, " R"] | None = None,
) -> Float[Array, " N"]:
    """Score each caption against its references, in the light of all references.

    Args:
        preds: captions, two or more; tokens with one space between them.
        targets: for each caption at least one reference caption, likewise.
        known: ``cosines(preds, targets)``, where they are at hand.

    Example:
        >>> refs = [["a red bear sits here"], ["a blue cat stands there"]]
        >>> fast_cider_scores(["a red bear sits here", "a blue cat stands there"], refs).round(6)
        array([1000., 1000.])
    """
    owner = np.repeat(np.arange(len(preds)), [len(group) for group in targets])
    bigrams = np.array([max(len(pred.split()) - 1, 0) for pred in preds])
    theirs = np.array([max(len(r.split()) - 1, 0) for group in targets for r in group])
    penalty = np.exp(-((bigrams[owner] - theirs) ** 2) / (2 * SIGMA**2))
    similar = cosines(preds, targets) if known is None else known
    total = np.bincount(owner, similar * penalty, minlength=len(preds))
    return SCALE * _TEN * total / np.bincount(owner, minlength=len(preds))


def cosines(preds: Sequence[str], targets: Sequence[Sequence[str]]) -> Float[Array, " R"]:
    """Clipped tf-idf cosine of every reference with its caption, the mean over n-gram orders.

    A caption without references is no document, and there is nothing of it.
    """
    num_preds = len(preds)
    references = [reference for group in targets for reference in group]
    owner = np.repeat(np.arange(num_preds), [len(group) for group in targets])
    # Texts are numbered: the captions first, then all references.
    words, text = _numbered([*preds, *references])
    document = np.concatenate([np.full(num_preds, -1), owner])
    num_documents = max(sum(1 for group in targets if group), 1)
    total = np.zeros(len(references))
    gram, place = words, np.arange(len(words))
    for order in range(1, ORDERS + 1):
        if order > 1:
            gram, place = _longer(gram, place, words, text, order)
        entries = _weighted(text[place], gram, document, num_documents)
        total += _cosines(entries, owner, num_preds)
    return total / ORDERS


def _numbered(texts: Sequence[str]) -> tuple[Int[Array, " W"], Int[Array, " W"]]:
    """All words of all texts in a row, as numbers, and the text that each stands in."""
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(w, len(numbers)) for w in text.split()] for text in texts]
    words = np.array([number for row in rows for number in row], dtype=np.int64)
    return words, np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def _longer(
    gram: Int[Array, " P"],
    place: Int[Array, " P"],
    words: Int[Array, " W"],
    text: Int[Array, " W"],
    order: int,
) -> tuple[Int[Array, " Q"], Int[Array, " Q"]]:
    """Add the next word to every n-gram that has one in its text."""
    last = place + order - 1
    has_next = last < len(words)
    has_next[has_next] = text[last[has_next]] == text[place[has_next]]
    pairs = gram[has_next] * (words.max(initial=0) + 1) + words[last[has_next]]
    return np.unique(pairs, return_inverse=True)[1], place[has_next]


def _weighted(
    text: Int[Array, " P"], gram: Int[Array, " P"], document: Int[Array, " D"], num_documents: int
) -> _Entries:
    """Count n-grams by text and weigh them by how few documents have them."""
    num_grams = int(gram.max(initial=0)) + 1
    keys, counts = np.unique(text * num_grams + gram, return_counts=True)
    of_text, of_gram = np.divmod(keys, num_grams)
    where = document[of_text]
    # Sorted by hand: np.unique without counts goes by a hash that is slow for so many.
    pairs = np.sort(where[where >= 0] * num_grams + of_gram[where >= 0])
    first = np.diff(pairs, prepend=-1) > 0
    frequency = np.bincount(pairs[first] % num_grams, minlength=num_grams)
    rarity = np.log(num_documents) - np.log(np.maximum(frequency, 1))
    return _Entries(of_text, of_gram, counts * rarity[of_gram])


def _cosines(entries: _Entries, owner: Int[Array, " R"], num_preds: int) -> Float[Array, " R"]:
    """Clipped cosine of each reference with its caption; 0 where either has no weight."""
    norm = np.sqrt(np.bincount(entries.text, entries.weight**2, minlength=num_preds + len(owner)))
    num_grams = int(entries.gram.max(initial=0)) + 1
    cut = int(np.searchsorted(entries.text, num_preds))
    keys = entries.text[:cut] * num_grams + entries.gram[:cut]
    reference = entries.text[cut:] - num_preds
    sought = owner[reference] * num_grams + entries.gram[cut:]
    at = np.minimum(np.searchsorted(keys, sought), max(cut - 1, 0))
    found = keys[at] == sought if cut else np.zeros(len(sought), dtype=bool)
    theirs, mine = entries.weight[cut:][found], entries.weight[:cut][at[found]]
    dots = np.bincount(reference[found], np.minimum(mine, theirs) * theirs, minlength=len(owner))
    norms = norm[owner] * norm[num_preds:]
    return np.divide(dots, norms, out=np.zeros(len(owner)), where=norms > 0)
