"""RAP: friends are remembered by a vector, found in a picture, and introduced in the prompt.

https://arxiv.org/abs/2410.13360, in the form of its released code: whose name the question has
comes first; then those who are nearest to the picture's crops, each once, until there are as many
as the prompt has room for; and a question of yes or no, which has the name, is not looked up by
looks. Nothing is trained for a friend: the model that is asked has learnt to caption with
references to some who are absent (``+experiment=rap_toybox``). Difference: ``among`` keeps the
search to those whom the example introduces, which every other system is told, too; RAP's is among
everybody.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from repic.captioners.captioner import Caption, Cost, Enrolled
from repic.captioners.system import System
from repic.retrieval.index import index_of
from repic.retrieval.retriever import Retriever
from repic.types import Example, Friend, Reference


@dataclass(kw_only=True)
class Rap(System):
    """A captioner that introduces whom it finds.

    Attributes:
        among: whom to look among: those whom the "prompt" introduces, or "everybody".
        has_info: references say what they show, too.
        retriever: where to look, and how many are introduced; albums it needs none.
    """

    among: Literal["prompt", "everybody"]
    has_info: bool
    retriever: Retriever

    def enroll(self, friend: Friend) -> Enrolled:
        begun = time.perf_counter()
        (vector,) = self.retriever.embedder([friend.shots[0].image.load()])
        cost = Cost(pictures=1, seconds=time.perf_counter() - begun)
        return Enrolled({"vector": torch.from_numpy(vector)}, cost)

    def reword(self, examples: Sequence[Example]) -> list[Example]:
        return [self._introduced(example, self.found(example)) for example in examples]

    def answer(self, examples: Sequence[Example]) -> list[Caption]:
        """Ask with a reference to the first whose name the question has, or else as ``write``."""
        asked = [self._introduced(e, self._named(e)[:1] or self.found(e)) for e in examples]
        return self.model.answer(asked)

    def found(self, example: Example) -> list[str]:
        """Whom to introduce: first who is named, then who looks like a part of the picture."""
        names, pool, seen = self._named(example), self._pool(example), []
        if example.query is not None and pool:
            vectors = np.stack([self.learnt[name].state["vector"].numpy() for name in pool])
            kinds = sorted({self.friends[name].category for name in pool})
            (seen,) = self.retriever.search([example], kinds, index_of(pool, vectors))
        found = dict.fromkeys([*names, *(one.name for one in seen)])
        return list(found)[: self.retriever.room(example)]

    def _named(self, example: Example) -> list[str]:
        return [name for name in self._pool(example) if name in example.question]

    def _pool(self, example: Example) -> list[str]:
        pool = list(example.pool) if self.among == "prompt" and example.pool else list(self.learnt)
        self.refuse_strangers(pool)
        return pool

    def _introduced(self, example: Example, names: Sequence[str]) -> Example:
        friends = [self.friends[name] for name in names]
        references = (
            Reference(friend.name, friend.info if self.has_info else None, friend.shots[0].image)
            for friend in friends
        )
        return replace(example, references=tuple(references))
