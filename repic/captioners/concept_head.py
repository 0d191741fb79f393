"""A head that tells whether a picture shows a friend: linear, on features of length 1.

MyVLM's for objects (https://arxiv.org/abs/2403.14599, section 3.2, and its released code): features
of a frozen vision model are normalized, and a linear layer with two outputs says how likely the
friend is. Batches have as many pictures of the friend as of others, on average.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from repic.captioners.augment import Augmentation
from repic.types import ImageSource
from repic.values import Count, NonNegative, Positive, Share

Embed = Callable[[Sequence[ImageSource]], Float[Tensor, "N D"]]


@dataclass(frozen=True, kw_only=True)
class ConceptHead:
    """How a head learns, and when it fires.

    Attributes:
        steps: optimizer steps, of AdamW.
        batch_size: pictures in a step.
        lr, last_lr: learning rate at the start, and where its half cosine ends.
        weight_decay, grad_clip: of the optimizer; the largest norm of a gradient.
        augmentation: changes pictures.
        views: changed pictures that are made of each, and chosen from; the released code makes a
            new one each time, which here would be most of the work.
        threshold: the probability from which on it fires.
    """

    steps: Count
    batch_size: Count
    lr: Positive
    last_lr: Positive
    weight_decay: NonNegative
    grad_clip: Positive
    augmentation: Augmentation
    views: Count
    threshold: Share

    def learn(
        self,
        embed: Embed,
        shown: Sequence[ImageSource],
        others: Sequence[ImageSource],
        seed: str,
    ) -> Float[Tensor, "2 D_plus_one"]:
        """Learn weights, with the bias in the last column.

        Args:
            embed: from pictures to features of length 1.
            shown: pictures of the friend.
            others: pictures of others.
            seed: decides all that is random.
        """
        rng = random.Random(seed)
        pictures = [
            [self.augmentation(p, rng) for p in some for _ in range(self.views)]
            for some in (others, shown)
        ]
        classes = [embed(some) for some in pictures]
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        size = classes[0].shape[1]
        bound = size**-0.5  # nn.Linear's
        weights = torch.empty(2, size + 1).uniform_(-bound, bound, generator=generator)
        weights.requires_grad_()
        optimizer = torch.optim.AdamW([weights], lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=self.steps, eta_min=self.last_lr
        )
        for _ in range(self.steps):
            labels = torch.randint(2, (self.batch_size,), generator=generator)
            drawn = torch.rand(self.batch_size, generator=generator)
            features = torch.stack(
                [
                    classes[k][int(d * len(classes[k]))]
                    for k, d in zip(labels.tolist(), drawn.tolist(), strict=True)
                ]
            )
            loss = cross_entropy(_logits(weights, features), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([weights], self.grad_clip)
            optimizer.step()
            schedule.step()
        return weights.detach()


def probability(
    weights: Float[Tensor, "2 D_plus_one"], features: Float[Tensor, "N D"]
) -> Float[Tensor, " N"]:
    """How likely each picture shows the friend.

    Example:
        >>> weights = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> probability(weights, torch.tensor([[0.0, 1.0]]))
        tensor([0.5000])
    """
    return _logits(weights, features).softmax(dim=-1)[:, 1]


def _logits(weights: Tensor, features: Tensor) -> Tensor:
    return linear(features, weights[:, :-1], weights[:, -1])
