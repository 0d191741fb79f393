"""What to watch in the captions themselves while a policy learns: length, loops, copying."""

from collections.abc import Sequence, Set

from repic.parsing import find_names, tokenize_caption
from repic.types import Example

REPEATED, COPIED = 3, 4  # words of an n-gram that counts as repeated, as copied
Ngram = tuple[str, ...]


def text_diagnostics(
    examples: Sequence[Example], captions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Summarize one iteration's captions.

    Keys:
        - ``grpo/words``: mean words of a caption, by ``tokenize_caption``.
        - ``grpo/repetition``: share of a caption's trigrams that stood in it before, mean over
          captions: seq-rep-3 of https://arxiv.org/abs/1908.04319, section 4.1, which has n = 4.
        - ``grpo/distinct_frac``: different captions of a group / captions, mean over groups. It
          falls to 1 / G when a policy has one thing left to say.
        - ``grpo/copied_name_frac``: share of captions that use a name which the prompt introduces
          and whose bearer is not in the picture; of prompts that introduce such a name.
        - ``grpo/copied_info_frac``: share of a caption's 4-grams that stand in the prompt's
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
    return {f"grpo/{k}": sum(values) / len(values) for k, values in numbers.items() if values}


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
