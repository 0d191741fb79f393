"""A model as it is, in the forms in which one that takes a single picture can be asked.

An InstructBLIP (https://arxiv.org/abs/2305.06500) sees one picture and reads one instruction. The
founding tables do not say how it was told who is who; so there are three rows: it is not, in words,
and in pixels. In the first it knows no name, and 0 is what it gets by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image, ImageOps

from repic.captioners.captioner import Cost
from repic.captioners.system import System
from repic.parsing import check_words
from repic.types import Example, ImageSource, Reference, picture_content
from repic.values import Text


@dataclass(kw_only=True)
class ZeroShot(System):
    """Whoever is introduced, introduced otherwise.

    Attributes:
        form: "nothing": without references; "text": names and infos; "montage": the references'
            pictures stand in a row above the picture, and the question names them in that order.
        asks: the question under a montage, with ``{names}`` and ``{question}``.
    """

    form: Literal["nothing", "text", "montage"]
    asks: Text = "{question}"

    def __post_init__(self) -> None:
        check_words(f"{self.label}: asks", self.asks, "question", optional=["names"])

    def cost(self) -> Cost:
        """A montage shows a picture of each."""
        return replace(super().cost(), pictures=int(self.form == "montage"))

    def reword(self, examples: Sequence[Example]) -> list[Example]:
        return [getattr(self, f"_{self.form}")(example) for example in examples]

    def _nothing(self, example: Example) -> Example:
        return replace(example, references=())

    def _text(self, example: Example) -> Example:
        return replace(example, references=tuple(map(self._in_words, example.references)))

    def _in_words(self, reference: Reference) -> Reference:
        known = self.friends.get(reference.name)
        return Reference(reference.name, reference.info or (known and known.info), None)

    def _montage(self, example: Example) -> Example:
        pictured = [r for r in example.references if r.image is not None]
        if example.query is None or not pictured:
            return self._text(example)
        above = tuple(r.image for r in pictured if r.image is not None)
        names = ", ".join(r.name for r in pictured)
        question = self.asks.format(names=names, question=example.question)
        others = (self._in_words(r) for r in example.references if r.image is None)
        return replace(
            example,
            references=tuple(others),
            query=Montage(above, example.query),
            question=question,
        )


@dataclass(frozen=True)
class Montage:
    """Pictures in a row above another, as high as they can be, up to two fifths of its height."""

    above: tuple[ImageSource, ...]
    below: ImageSource

    @property
    def key(self) -> str:
        return f"montage:{'+'.join(p.key for p in (*self.above, self.below))}"

    @property
    def content(self) -> str:
        return f"montage:{'+'.join(picture_content(p) for p in (*self.above, self.below))}"

    def load(self) -> Image.Image:
        """Draw it, as wide as the picture below."""
        below = self.below.load()
        width, height = below.size
        side = max(1, min(width // len(self.above), height * 2 // 5))
        whole = Image.new("RGB", (width, side + height), "white")
        for number, source in enumerate(self.above):
            whole.paste(
                ImageOps.pad(source.load(), (side, side), color="white"), (number * side, 0)
            )
        whole.paste(below, (0, side))
        return whole
