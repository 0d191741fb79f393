"""CIDEr of captions, with pycocoevalcap as the judge.

The score is pycocoevalcap's ``Cider`` (the variant with clipping and a Gaussian length penalty,
called CIDEr-D in https://arxiv.org/abs/1411.5726, section 4) times 100, so that a published 0.855
reads 85.5; its ceiling is 1000. What differs from the usual pipeline:

1. Words are split by ``tokenize`` below instead of the Penn Treebank tokenizer, which is a Java
   program. Both give the same tokens for plain captions; elsewhere (abbreviations, brackets,
   quotation marks) they do not, and absolute values then differ a little. With
   ``repic.metrics.captions.tokens.ptb`` for a tokenizer the score is the usual one.
2. A name in brackets is one token, also when it has two words.
3. A caption is split by itself, so that a line break in one cannot move the others.

Document frequencies are those of the references that are scored, which is the usual way. Hence
the score of a single picture would always be 0: every word occurs in all of the one document.
"""

import json
import re
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from pycocoevalcap.cider.cider import Cider as Judge
from torch import Tensor
from torchmetrics import Metric

SCALE = 100.0

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


def cider_scores(
    preds: Sequence[str],
    targets: Sequence[Sequence[str]],
    *,
    tokenizer: Callable[[Sequence[str]], list[str]] = words,
) -> Float[np.ndarray, " N"]:
    """Score each caption against its references, in the light of all references.

    Args:
        preds: captions.
        targets: for each caption at least one reference caption.
        tokenizer: gives texts as tokens with one space between them.

    Returns:
        One score a caption, from 0 to 1000. A single caption gives NaN and a warning: the
        document frequencies of one picture tell nothing.

    Raises:
        ValueError: lengths differ, or a caption has no reference.
    """
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} captions, but references for {len(targets)}")
    tokens = iter(tokenizer([*preds, *(text for group in targets for text in group)]))
    answers = {i: [next(tokens)] for i in range(len(preds))}
    references = {i: [next(tokens) for _ in group] for i, group in enumerate(targets)}
    if empty := [i for i, group in references.items() if not any(group)]:
        raise ValueError(f"caption {empty[0]} has no reference caption with a word in it")
    if len(preds) < 2:
        if preds:
            warnings.warn(
                "CIDEr of a single picture says nothing (all its words are in all documents):"
                " it is NaN. Evaluate two pictures or more.",
                stacklevel=2,
            )
        return np.full(len(preds), np.nan)
    _, scores = Judge().compute_score(references, answers)
    return SCALE * np.asarray(scores, dtype=np.float64)


def cider(preds: Sequence[str], targets: Sequence[Sequence[str]]) -> Float[Tensor, ""]:
    """Return the mean of ``cider_scores``; NaN for fewer than two captions.

    Example:
        >>> refs = [["a red bear sits here"], ["a blue cat stands there"]]
        >>> cider(["a red bear sits here", "a blue cat stands there"], refs)
        tensor(1000.)
        >>> cider(["a blue cat stands there", "a red bear sits here"], refs)
        tensor(0.)
    """
    return _compute(cider_scores(preds, targets))


class Cider(Metric):
    """``cider`` over many batches and processes; higher is better.

    Captions and references are all kept until ``compute``: the score of one depends on the
    references of the others. They are kept as bytes, because processes exchange tensors only.

    Example:
        >>> metric = Cider()
        >>> metric.update(["a red bear sits here"], [["a red bear sits here"]])
        >>> metric.update(["a red bear sits here"], [["a blue cat stands there"]])
        >>> metric.compute()
        tensor(500.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    records: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("records", [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[str], targets: Sequence[Sequence[str]]) -> None:
        if len(preds) != len(targets):
            raise ValueError(f"{len(preds)} captions, but references for {len(targets)}")
        for pred, references in zip(preds, targets, strict=True):
            # JSON escapes line breaks inside a caption, so that one line is one record.
            line = json.dumps([pred, list(references)]) + "\n"
            record = torch.frombuffer(bytearray(line.encode("ascii")), dtype=torch.uint8)
            self.records.append(record.to(self.device))

    def compute(self) -> Float[Tensor, ""]:
        # After an exchange between processes the state is one tensor instead of a list.
        records = self.records if isinstance(self.records, list) else [self.records]
        lines = b"".join(bytes(record.cpu().numpy()) for record in records).splitlines()
        pairs = [json.loads(line) for line in lines]
        return _compute(cider_scores([p for p, _ in pairs], [r for _, r in pairs]))


def _compute(scores: Float[np.ndarray, " N"]) -> Float[Tensor, ""]:
    return torch.tensor(scores.mean() if scores.size else np.nan, dtype=torch.float32)
