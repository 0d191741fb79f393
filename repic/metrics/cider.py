"""CIDEr-D × 100, over arrays: what pycocoevalcap 1.2 computes, for ten thousand captions.

https://arxiv.org/abs/1411.5726, section 4 (pycocoevalcap calls it ``Cider``): n-grams of one to
four words, clipped, a Gaussian (sigma 6) of the difference in bigrams, mean over references. A
published 0.855 reads 85.5; the ceiling is 1000. The judge takes a Python object for each n-gram of
each text; here each is a number in one array, and the tests hold both equal to 1e-9. What differs
from the usual pipeline:

1. Words are split by ``tokenize`` below instead of the Penn Treebank tokenizer, which is a Java
   program. Both give the same tokens for plain captions; elsewhere (abbreviations, brackets,
   quotation marks) they do not, and absolute values then differ a little. With
   ``repic.metrics.captions.tokens.ptb`` for a tokenizer the score is the usual one.
2. A name in brackets is one token, also when it has two words.
3. A caption is split by itself, so that a line break in one cannot move the others.

Document frequencies are those of the references that are scored, which is the usual way. Hence
a single picture has no score: every word occurs in all of the one document.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SCALE = 100.0
ORDERS = 4
SIGMA = 6.0
_TEN = 10.0  # CIDEr-D's factor

Array = np.ndarray

_TOKEN = re.compile(
    r"<[^<>]+>"  # a name
    r"|\d+(?:[.,]\d+)+"  # 3.5
    r"|\w+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b"  # do|n't, it|'s
    r"|\w+(?:-\w+)*"  # two-toned
)


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words, names and clitics; punctuation is dropped.

    Example:
        >>> tokenize("A two-toned cat, <Miss Bo>, doesn't wear <tavo>'s hat.")
        ['a', 'two-toned', 'cat', '<miss_bo>', 'does', "n't", 'wear', '<tavo>', "'s", 'hat']
    """
    text = caption.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return ["_".join(token.split()) for token in _TOKEN.findall(text)]


def words(texts: Sequence[str]) -> list[str]:
    """Tokenize texts, and put one space between tokens.

    Example:
        >>> words(["A cat!", "..."])
        ['a cat', '']
    """
    return [" ".join(tokenize(text)) for text in texts]


class _Entries(NamedTuple):
    """The different n-grams of every text, ordered by text and n-gram."""

    text: Int[Array, " E"]
    gram: Int[Array, " E"]
    weight: Float[Array, " E"]


def cider_scores(
    preds: Sequence[str],
    targets: Sequence[Sequence[str]],
    known: Float[Array, " R"] | None = None,
) -> Float[Array, " N"]:
    """Score each caption against its references, in the light of all references.

    Args:
        preds: captions; tokens with one space between them.
        targets: for each caption its reference captions, likewise.
        known: ``cosines(preds, targets)``, where they are at hand.

    Returns:
        From 0 to 1000. NaN for a caption without references, and for all where fewer than two
        have some: the document frequencies of one picture tell nothing.

    Raises:
        ValueError: there are not as many groups of references as captions.

    Example:
        >>> refs = [["a red bear sits here"], ["a blue cat stands there"]]
        >>> cider_scores(["a red bear sits here", "a blue cat stands there"], refs).round(6)
        array([1000., 1000.])
    """
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} captions, but references for {len(targets)}")
    number = np.array([len(group) for group in targets], dtype=np.int64)
    if np.count_nonzero(number) < 2:
        return np.full(len(preds), np.nan)
    owner = np.repeat(np.arange(len(preds)), number)
    bigrams = np.array([max(len(pred.split()) - 1, 0) for pred in preds])
    theirs = np.array([max(len(r.split()) - 1, 0) for group in targets for r in group])
    penalty = np.exp(-((bigrams[owner] - theirs) ** 2) / (2 * SIGMA**2))
    similar = cosines(preds, targets) if known is None else known
    total = SCALE * _TEN * np.bincount(owner, similar * penalty, minlength=len(preds))
    return np.divide(total, number, out=np.full(len(preds), np.nan), where=number > 0)


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
