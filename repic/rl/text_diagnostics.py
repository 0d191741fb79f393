"""What to watch in the captions themselves while a policy learns: length, loops, copying."""

from collections.abc import Mapping, Sequence, Set
from itertools import chain
from statistics import fmean

from repic.parsing import find_names, tokenize_caption
from repic.types import Example

REPEATED, COPIED = 3, 4  # words of an n-gram that counts as repeated, as copied
Ngram = tuple[str, ...]


def text_measures(
    examples: Sequence[Example], captions: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Measure one iteration's captions; what is logged is the mean.

    Keys:
        - ``words``: words of a caption, by ``tokenize_caption``.
        - ``repetition``: share of a caption's trigrams that stood in it before, mean over
          captions: seq-rep-3 of https://arxiv.org/abs/1908.04319, section 4.1, which has n = 4.
        - ``distinct_frac``: different captions of a group / captions, mean over groups. It
          falls to 1 / G when a policy has one thing left to say.
        - ``copied_name_frac``: share of captions that use a name which the prompt introduces
          and whose bearer is not in the picture; of prompts that introduce such a name.
        - ``copied_info_frac``: share of a caption's 4-grams that stand in the prompt's
          info texts and in none of the reference answers, mean over captions of prompts that have
          info. Without answers to compare with, all that stand in info count, so look at how it
          changes.

    A key is left out where no prompt of the batch is of its kind.

    Args:
        examples: B prompts.
        captions: for each of them, what was said.
    """
    words = [[tokenize_caption(text) for text in group] for group in captions]
    everything = [caption for group in words for caption in group]
    names = [
        bool(absent & set(find_names(text, example.pool)))
        for example, group in zip(examples, captions, strict=True)
        if (absent := set(example.pool) - set(example.present))
        for text in group
    ]
    copied = [
        share_within(caption, only_info(example), COPIED)
        for example, group in zip(examples, words, strict=True)
        if any(reference.info for reference in example.references)
        for caption in group
    ]
    numbers = {
        "words": [len(caption) for caption in everything],
        "repetition": [repeated_share(caption, REPEATED) for caption in everything],
        "distinct_frac": [len(set(group)) / len(group) for group in captions if group],
        "copied_name_frac": names,
        "copied_info_frac": copied,
    }
    return {k: [float(value) for value in values] for k, values in numbers.items() if values}


def text_diagnostics(measures: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Average ``text_measures`` of several parts of a batch, as ``grpo/<name>``.

    >>> text_diagnostics({"words": [[3.0], [5.0, 7.0]]})
    {'grpo/words': 5.0}
    """
    return {f"grpo/{k}": fmean(chain(*parts)) for k, parts in measures.items()}


def only_info(example: Example) -> set[Ngram]:
    """The 4-grams of a prompt's info texts that no reference answer has."""
    told: set[Ngram] = set()
    for reference in example.references:
        if reference.info:
            told.update(ngrams(tokenize_caption(reference.info), COPIED))
    for answer in example.answers:
        told.difference_update(ngrams(tokenize_caption(answer), COPIED))
    return told


def ngrams(words: Sequence[str], n: int) -> list[Ngram]:
    """All runs of n words, in order.

    >>> ngrams(["a", "red", "bear"], 2)
    [('a', 'red'), ('red', 'bear')]
    """
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def repeated_share(words: Sequence[str], n: int) -> float:
    """Share of n-grams that stood there before; 0 for a text that has none.

    >>> repeated_share("a bear a bear a bear".split(), 2)
    0.6
    """
    found = ngrams(words, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def share_within(words: Sequence[str], known: Set[Ngram], n: int) -> float:
    """Share of n-grams that are known; 0 for a text that has none."""
    found = ngrams(words, n)
    return sum(ngram in known for ngram in found) / len(found) if found else 0.0
