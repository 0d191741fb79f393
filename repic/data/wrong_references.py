"""Examples whose references lie: the pictures, or the infos, belong to others.

RePIC, https://arxiv.org/abs/2506.18369, tables 5, A.2 and A.3: a model that looks does not name
somebody whose picture is another's, and one that reads the scene does not repeat what a wrong info
says. The names that count stay those of the true references: low recognition is good here.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from repic.types import Example, Examples, Reference

RIGHT = "right"
FIELDS = {"wrong_images": "image", "wrong_infos": "info"}
DEMONSTRATIONS = (RIGHT, *FIELDS)


class WrongReferences:
    """A dataset with its references' pictures, or infos, given to each other.

    References that have one pass it on in a circle, so that none keeps its own. Where there is
    only one in a prompt, or the circle brings an equal one (two dogs with one info), it gets
    another one, of another name, from another prompt.

    Args:
        examples: the true ones.
        kind: of ``FIELDS``.
        seed: of the circles.
    """

    def __init__(self, examples: Examples, *, kind: str, seed: int) -> None:
        self._examples, self._field, self._seed = examples, FIELDS[kind], seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index]
        rng = random.Random(f"{self._seed}/{example.id}")
        having = [i for i, r in enumerate(example.references) if self._of(r) is not None]
        rng.shuffle(having)
        references = list(example.references)
        for place, giver in zip(having, [*having[1:], *having[:1]], strict=True):
            own, given = self._of(example.references[place]), self._of(example.references[giver])
            if given == own:
                given = self._strangers(example, index, own, rng)
            references[place] = replace(references[place], **{self._field: given})
        return replace(example, references=tuple(references))

    def _of(self, reference: Reference) -> object:
        return getattr(reference, self._field)

    def _strangers(self, example: Example, index: int, own: object, rng: random.Random) -> object:
        """What a reference of another prompt has whose name this one does not have."""
        first = rng.randrange(len(self))
        for place in range(first, first + len(self)):
            others: Sequence[Reference] = self._examples[place % len(self)].references
            for other in others:
                if other.name not in example.pool and self._of(other) not in (None, own):
                    return self._of(other)
        raise ValueError(
            f"phase.evaluate.demonstrations: {example.id} has one {self._field}, and no other"
            " prompt has another to exchange it for; evaluate more scenes"
        )
