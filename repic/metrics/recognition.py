"""Recognition: does a caption name exactly the beings that are in the picture?

Accuracy is strict: the set of names said equals the set present, so that one name too many is as
wrong as one too few, and naming everybody fails wherever somebody is absent. Precision, recall
and F1 are micro averages: names are counted over all captions before dividing.

What counts as said is stated in ``repic.metrics.names``.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from repic.metrics.names import names_said


class NameCounts(NamedTuple):
    """One caption's (or the sum of many captions') outcome."""

    exact: int  # 1 if the sets are equal
    hits: int  # present and said
    false: int  # said, but not present: absent beings and inventions
    missed: int  # present, but not said


def count_names(pred: str, target: Collection[str], pool: Collection[str]) -> NameCounts:
    """Compare the names of one caption with the beings in the picture.

    Args:
        pred: the caption.
        target: the names of those present.
        pool: every name that the prompt introduced.

    Raises:
        ValueError: a present name is not in the pool.

    Example:
        >>> count_names("<momi> and <tavo>", ["<momi>"], ["<momi>", "<tavo>"])
        NameCounts(exact=0, hits=1, false=1, missed=0)
    """
    present = frozenset(target)
    if unknown := sorted(present - frozenset(pool)):
        raise ValueError(f"present but not among the names introduced: {', '.join(unknown)}")
    said = names_said(pred, pool)
    return NameCounts(
        exact=int(said == present),
        hits=len(said & present),
        false=len(said - present),
        missed=len(present - said),
    )


def name_recognition(
    preds: Sequence[str], targets: Sequence[Collection[str]], pools: Sequence[Collection[str]]
) -> dict[str, Float[Tensor, ""]]:
    """Judge the names in captions, in percent.

    Args:
        preds: captions.
        targets: for each caption the names of those present.
        pools: for each caption every name that the prompt introduced.

    Returns:
        "accuracy", "precision", "recall" and "f1". A share of nothing is 0: the precision, when
        no name is said. Without captions everything is NaN.

    Example:
        >>> scores = name_recognition(
        ...     ["momi sits by <tavo>", "a red bear"], [["<momi>", "<tavo>"], ["<momi>"]],
        ...     [["<momi>", "<tavo>"], ["<momi>", "<tavo>"]])
        >>> [f"{name} {value:.1f}" for name, value in scores.items()]
        ['accuracy 50.0', 'precision 100.0', 'recall 66.7', 'f1 80.0']
    """
    return _compute(*_update(preds, targets, pools))


class NameRecognition(Metric):
    """``name_recognition`` over many batches and processes; higher is better.

    Example:
        >>> metric = NameRecognition()
        >>> metric.update(["<momi> waves"], [["<momi>"]], [["<momi>", "<tavo>"]])
        >>> metric.update(["<momi> and <tavo>"], [["<momi>"]], [["<momi>", "<tavo>"]])
        >>> metric.compute()["accuracy"]
        tensor(50.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor
    num_examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(4, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("num_examples", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        preds: Sequence[str],
        targets: Sequence[Collection[str]],
        pools: Sequence[Collection[str]],
    ) -> None:
        counts, num_examples = _update(preds, targets, pools)
        self.counts += counts.to(self.counts.device)
        self.num_examples += num_examples

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        return _compute(self.counts, int(self.num_examples))


def _update(
    preds: Sequence[str], targets: Sequence[Collection[str]], pools: Sequence[Collection[str]]
) -> tuple[Tensor, int]:
    if not len(preds) == len(targets) == len(pools):
        raise ValueError(
            f"{len(preds)} captions, {len(targets)} targets and {len(pools)} pools: need one each"
        )
    counts = [count_names(*triple) for triple in zip(preds, targets, pools, strict=True)]
    return torch.tensor(counts, dtype=torch.long).reshape(-1, 4).sum(dim=0), len(counts)


def _compute(counts: Tensor, num_examples: int) -> dict[str, Float[Tensor, ""]]:
    exact, hits, false, missed = counts.float()
    if not num_examples:
        return dict.fromkeys(("accuracy", "precision", "recall", "f1"), torch.tensor(torch.nan))
    shares = {
        "accuracy": (exact, torch.tensor(num_examples)),
        "precision": (hits, hits + false),
        "recall": (hits, hits + missed),
        "f1": (2 * hits, 2 * hits + false + missed),
    }
    return {name: 100 * part / whole.clamp(min=1) for name, (part, whole) in shares.items()}
