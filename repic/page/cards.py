"""What the page shows, as plain data: facts, scenes, captions. It knows no HTML."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from repic.metrics.names import NameCounts, NameSpan, count_names, lexicon_of
from repic.types import Box, ImageSource

RIGHT, WRONG, MISSED, CUT_OFF = "right", "wrong", "missed", "cut"


@dataclass(frozen=True)
class Fact:
    """A number worth reading first; ``detail`` says what it is measured on."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class BoxCard:
    """A being in the scene; unnamed for strangers."""

    box: Box
    name: str | None


@dataclass(frozen=True)
class ReferenceCard:
    """One of the beings that the prompt introduces."""

    name: str
    info: str | None
    image: ImageSource | None
    is_present: bool


@dataclass(frozen=True)
class CaptionCard:
    """A caption by one of the models.

    Attributes:
        author: what the reader calls the model ("after SFT").
        introduced: the names in its prompt, where they are not those of the scene's references;
            None where they are.
    """

    author: str
    text: str
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    finished: bool = True
    introduced: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SceneCard:
    """A scene, who is to be found in it, and what the models say.

    Attributes:
        image: the picture; None shows the captions alone.
        boxes: in pixels of ``image`` as loaded.
        answer: a complete caption; None where there is none.
    """

    id: str
    num_concepts: int
    image: ImageSource | None
    boxes: tuple[BoxCard, ...]
    references: tuple[ReferenceCard, ...]
    captions: tuple[CaptionCard, ...]
    answer: str | None = None

    @property
    def present(self) -> list[str]:
        return [r.name for r in self.references if r.is_present]

    def pool(self, caption: CaptionCard) -> list[str]:
        """The names that a caption may be expected to know."""
        if caption.introduced is None:
            return [r.name for r in self.references]
        return [*caption.introduced, *(n for n in self.present if n not in caption.introduced)]

    def segments(self, caption: CaptionCard) -> list[tuple[str, str]]:
        """Cut a caption into (text, kind): kind is "right" or "wrong" for a name, else empty."""
        kinds = {None: "", **dict.fromkeys(self.present, RIGHT)}
        pieces = cut_at(self._spans(caption), caption.text)
        return [(text, kinds.get(name, WRONG)) for text, name in pieces]

    def missed(self, caption: CaptionCard) -> list[str]:
        """Names of those in the picture that a caption leaves out."""
        said = {span.name for span in self._spans(caption)}
        return [name for name in self.present if name not in said]

    def counts(self, caption: CaptionCard) -> NameCounts:
        return count_names(caption.text, self.present, lexicon_of(tuple(self.pool(caption))))

    def _spans(self, caption: CaptionCard) -> list[NameSpan]:
        return lexicon_of(tuple(self.pool(caption))).spans(caption.text)

    def outcome(self, caption: CaptionCard) -> list[str]:
        """What there is to find a caption by: all names right, or which kinds of mistake.

        Example:
            >>> card = SceneCard("s", 1, None, (), (ReferenceCard("<bo>", None, None, True),), ())
            >>> [card.outcome(CaptionCard("", text, finished=f)) for text, f in
            ...     (("bo sits", True), ("<mi> sits", True), ("<bo> and <bo>", False))]
            [['right'], ['wrong', 'missed'], ['right', 'cut']]
        """
        counts = self.counts(caption)
        found = {
            RIGHT: counts.exact,
            WRONG: counts.false,
            MISSED: counts.missed,
            CUT_OFF: not caption.finished,
        }
        return [kind for kind, is_so in found.items() if is_so]

    @property
    def reward_names(self) -> list[str]:
        """Every reward component of any caption, in order of appearance."""
        return list(dict.fromkeys(name for c in self.captions for name in c.rewards))


@dataclass(frozen=True)
class Opening:
    """A scene that a page begins with, and how it was chosen."""

    title: str
    scene: SceneCard
    note: str


def cut_at(spans: Iterable[NameSpan], text: str) -> list[tuple[str, str | None]]:
    """Cut a text into names, each with whose it is, and what stands between them, with None."""
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for span in spans:
        pieces += [(text[end : span.start], None), (text[span.start : span.end], span.name)]
        end = span.end
    return [(piece, name) for piece, name in [*pieces, (text[end:], None)] if piece]


def by_count(scenes: Sequence[SceneCard]) -> dict[int, list[SceneCard]]:
    """Scenes by their number of concepts, in the given order within each."""
    counts = sorted({scene.num_concepts for scene in scenes})
    return {count: [s for s in scenes if s.num_concepts == count] for count in counts}
