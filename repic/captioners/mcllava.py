"""MC-LLaVA: tokens as Yo'LLaVA's, learnt of several friends together, from what is seen of them.

https://arxiv.org/abs/2411.11706, in the form of its released code: the friends of a scenario have
one prompt, in which each has its sentence; the pictures of each are negatives of the others; and
embeddings begin where the pictures' features are. These, behind the projector and inside masks of
the friend, have k-means centres, as many as there are tokens, at the mean length of the model's own
embeddings; the name begins at the mean of them. Rows of the head begin as Yo'LLaVA's.
Differences: a part of the picture that a proposer finds stands in the place of a mask; a scenario
is ``together`` friends who follow each other in the data, and a prompt introduces those whom its
example does, who need not have been learnt together; and the rows that are kept are chosen on the
pictures that are learnt from, where the released code reports the best epoch on those of its test.
"""

import random
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from repic.captioners.yollava import YoLlava
from repic.models.policy import Policy
from repic.retrieval.parts import Proposer
from repic.retrieval.retriever import cut
from repic.types import Box, Friend, ImageSource, picture_content
from repic.values import Count

_ROUNDS = 100  # of k-means, at most


@dataclass(kw_only=True)
class McLlava(YoLlava):
    """A captioner whose vocabulary has new tokens for friends, learnt several at a time.

    Attributes:
        together: friends of a scenario.
        start: of embeddings: "kmeans", or "drawn", as Yo'LLaVA's.
        proposer: which part of a picture shows its friend, for ``start``; None: all of it.
    """

    together: Count
    start: Literal["kmeans", "drawn"]
    proposer: Proposer | None

    def first_rows(self, policy: Policy, friend: Friend) -> dict[str, Tensor]:
        """Rows to start from: centres of the friend's features, before them their mean.

        With fewer features than tokens, the tokens that are left begin as drawn.
        """
        state = super().first_rows(policy, friend)
        if self.start == "kmeans":
            assert self._soft is not None
            own = policy.network.get_input_embeddings().weight[: self._soft.first]
            rng = random.Random(f"{self.seed}/{friend.name}/centres")
            found = centres(self._features(policy, friend), self.num_tokens, rng)
            found = torch.nn.functional.normalize(found) * own.float().norm(dim=1).mean()
            rows = torch.cat([found.mean(0, keepdim=True), found][1 - self.new_words :])
            state["rows"] = torch.cat([rows, state["rows"][len(rows) :]])
        return state

    def _features(self, policy: Policy, friend: Friend) -> Float[Tensor, "N H"]:
        """What the language model is given of the friend, of all pictures."""
        parts = [self._part(shot.image, friend.category) for shot in friend.shots]
        size = policy.network.get_input_embeddings().embedding_dim
        with torch.no_grad():
            seen = policy.picture_features(policy.encoder.images.encode(parts))
        return torch.cat([features[:, :size] for features in seen]).float()

    def _part(self, picture: ImageSource, kind: str) -> ImageSource:
        boxes = self.proposer(picture.load(), [kind]) if self.proposer is not None else []
        return Part(picture, boxes[0]) if boxes else picture


@dataclass(frozen=True)
class Part:
    """What is inside a box of a picture."""

    original: ImageSource
    box: Box

    @property
    def key(self) -> str:
        return f"{self.original.key}:{tuple(self.box)}"

    @property
    def content(self) -> str:
        return f"{picture_content(self.original)}:{tuple(self.box)}"

    def load(self) -> Image.Image:
        return cut(self.original.load(), self.box)


def centres(points: Float[Tensor, "N H"], number: int, rng: random.Random) -> Float[Tensor, "K H"]:
    """K-means, from centres drawn among the points, far ones more likely (k-means++).

    Args:
        points: of which there may be fewer than ``number``, or than centres that differ.
        number: of centres, at most.
        rng: the dice.
    """
    found = points[rng.randrange(len(points))][None]
    while len(found) < number:
        far = _distances(points, found).amin(1).square().tolist()
        if not any(far):
            break  # every point is a centre
        (index,) = rng.choices(range(len(points)), far)
        found = torch.cat([found, points[index][None]])
    for _ in range(_ROUNDS):
        nearest = _distances(points, found).argmin(1)
        means = [points[nearest == i].mean(0) for i in range(len(found)) if (nearest == i).any()]
        moved = torch.stack(means)
        if torch.equal(moved, found):
            break
        found = moved
    return found


def _distances(points: Tensor, others: Tensor) -> Tensor:
    """Exactly 0 between equals, which the quick way through products is not."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
