"""The vocabulary of the program: what an example, a rollout and a prediction are.

Axis letters, used in every shape annotation of the package:

    B  prompts in a batch            G  rollouts per prompt (the group)
    N  rollouts, N = B * G           L  prompt + completion tokens
    T  completion tokens             V  vocabulary
    K  reward components             C  concepts

Names are always held with their brackets, as they stand in prompts and captions: ``"<bo>"``.
Boxes are pixels of the image as loaded, origin at the top left, ``x1`` and ``y1`` exclusive.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from PIL import Image
from torch import Tensor


@runtime_checkable
class ImageSource(Protocol):
    """A picture that is loaded when it is needed.

    The key is what predictions record (a file's path, or ``toybox:...`` for a drawn picture); in
    one run, two sources with the same key load the same pixels. Where that does not hold from run
    to run, since a file can be replaced, a source has a ``content`` of which it does.
    """

    @property
    def key(self) -> str: ...

    def load(self) -> Image.Image:
        """Return the picture as RGB; a missing or corrupt file raises ``ValueError`` naming it."""
        ...


def picture_content(picture: ImageSource) -> str:
    """Equal for two pictures with equal pixels alone, in every run."""
    return getattr(picture, "content", picture.key)


class Frame(NamedTuple):
    """A picture of a clip, and when it was taken: seconds since the clip's beginning."""

    second: float
    image: ImageSource


@dataclass(frozen=True)
class Clip:
    """A film as a few of its frames, in the order in which they are shown.

    It is asked about as a picture is: a prompt shows every frame after its time, and whoever wants
    one picture (a page, a retriever, a metric) loads all frames in rows.

    Attributes:
        name: what the frames are of; begins the key.
        frames: none, where a model shall do without.
    """

    name: str
    frames: tuple[Frame, ...]

    @property
    def key(self) -> str:
        return self.name + "#t=" + ",".join(f"{frame.second:g}" for frame in self.frames)

    @property
    def content(self) -> str:
        """What every frame holds, and when it was taken."""
        return repr([(frame.second, picture_content(frame.image)) for frame in self.frames])

    def load(self) -> Image.Image:
        """Return all frames side by side, in about as many rows as columns."""
        pictures = [frame.image.load() for frame in self.frames]
        columns = math.ceil(math.sqrt(len(pictures))) or 1
        width = max((picture.width for picture in pictures), default=1)
        height = max((picture.height for picture in pictures), default=1)
        gap, rows = -(-width // 64), -(-len(pictures) // columns) or 1
        size = columns * (width + gap) - gap, rows * (height + gap) - gap
        sheet = Image.new("RGB", size, "white")
        for i, picture in enumerate(pictures):
            row, column = divmod(i, columns)
            sheet.paste(picture, (column * (width + gap), row * (height + gap)))
        return sheet


class Box(NamedTuple):
    """A rectangle in pixels; see the module's docstring for the convention."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """0 where a side is not after its opposite."""
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)

    def iou(self, other: "Box") -> float:
        """Intersection over union, in [0, 1].

        >>> Box(0.0, 0.0, 4.0, 4.0).iou(Box(2.0, 0.0, 6.0, 4.0))
        0.3333333333333333
        """
        ends = min(self.x1, other.x1), min(self.y1, other.y1)
        overlap = Box(max(self.x0, other.x0), max(self.y0, other.y0), *ends).area
        union = self.area + other.area - overlap
        return overlap / union if union > 0 else 0.0


@dataclass(frozen=True)
class Reference:
    """One concept as the prompt introduces it; picture or info may be withheld, never both."""

    name: str
    info: str | None
    image: ImageSource | None


@dataclass(frozen=True)
class Mention:
    """What a caption says, or the truth is, about one being.

    ``attributes`` maps a slot to a value, for example ``{"species": "bear", "colour": "red"}``;
    a slot that is absent is not stated. The same type holds the ground truth (every visible slot
    filled) and what a parser reads from a caption, so that the two can be compared.
    """

    attributes: Mapping[str, str]
    name: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Scene:
    """Ground truth of a query image: everything in it, from left to right.

    Of photos it may be known who is where, and not what anybody looks like: then no mention has
    attributes, and what a caption says of them can be neither right nor wrong.
    """

    mentions: tuple[Mention, ...]
    background: str | None = None

    @property
    def is_described(self) -> bool:
        """Whether it tells what is there to see, and not only who is where."""
        return self.background is not None or any(m.attributes for m in self.mentions)


@dataclass(frozen=True)
class Example:
    """One prompt with what is known about its right answer.

    ``question`` and ``references`` with ``query`` make the prompt; ``target`` is what supervised
    training imitates (possibly incomplete, as real captions are), ``answers`` are the complete
    reference answers that rewards and metrics compare with. ``present`` are the names that a
    caption should use, ``pool`` every name that the prompt introduces. A query may be a ``Clip``.
    """

    id: str
    task: str  # "caption", "same", "locate", "describe", "lookup" and others
    references: tuple[Reference, ...] = ()
    query: ImageSource | None = None
    question: str = ""
    target: str = ""
    answers: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    num_concepts: int = 0
    scene: Scene | None = None  # None: unknown, as for real photos
    rejected: str = ""  # an answer that is worse than the target, where somebody has said so

    @property
    def pool(self) -> tuple[str, ...]:
        return tuple(reference.name for reference in self.references)

    @property
    def images(self) -> tuple[ImageSource, ...]:
        """The prompt's pictures in the order in which the prompt shows them; a clip is one."""
        shown = [reference.image for reference in self.references if reference.image is not None]
        return (*shown, *([self.query] if self.query is not None else []))


@runtime_checkable
class Examples(Protocol):
    """A dataset: ``examples[i]`` is the i-th one, for ever the same."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


VISUAL, TEXT = "visual", "text"  # what a question is answered from


@dataclass(frozen=True)
class Choice:
    """A question with options.

    Attributes:
        example: the prompt; its question lists the options, its target is the right letter, and its
            task says after a slash what has to be looked at: "ask/visual" or "ask/text".
        options: without their letters, in the order of the letters.
        answer: the place of the right one.
    """

    example: Example
    options: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class SceneIdentities:
    """Who an example is about, for albums that several examples share; see ``repic.retrieval``.

    ``references`` are the example's, with a picture of everybody of whom there is one, withheld or
    not. ``introduced`` are the beings that they show and ``shown`` those in the query, whatever
    they are called: equal texts for the same being.
    """

    references: tuple[Reference, ...]
    introduced: frozenset[str]
    shown: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(reference.name for reference in self.references)


@dataclass(frozen=True)
class Shot:
    """A picture of a friend to learn from, with captions of it that name them, if there are any."""

    image: ImageSource
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Friend:
    """Somebody whom a system may have to learn before it can name them.

    Attributes:
        name: with its brackets.
        info: what is said of them in a few words; None: nothing.
        category: what they are, in a word: "bear".
        shots: pictures of them to learn from.
        lookalikes: pictures of others who look like them.
        others: pictures of any others.
    """

    name: str
    info: str | None
    category: str
    shots: tuple[Shot, ...]
    lookalikes: tuple[ImageSource, ...] = ()
    others: tuple[ImageSource, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """One sampled completion.

    ``completion_ids`` [T] holds no padding and ends with the end token when ``finished``;
    ``logprobs`` [T] are the sampler's, at temperature 1 unless the sampler says otherwise.
    """

    example: Example
    text: str
    completion_ids: Tensor
    logprobs: Tensor
    finished: bool


@dataclass(frozen=True)
class Prediction:
    """One line of ``predictions.jsonl``."""

    id: str
    phase: str  # which model wrote it: "base", "sft", "grpo", a baseline's name
    task: str
    num_concepts: int
    prompt: str
    images: tuple[str, ...]
    caption: str
    answers: tuple[str, ...]
    present: tuple[str, ...]
    pool: tuple[str, ...]
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    finished: bool = True
    infos: tuple[str, ...] = ()  # what the prompt says of those in the pool; some may lack one
