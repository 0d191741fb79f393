"""Several real photos in one picture: who of those introduced is in it?

Real photos of several named beings are hard to come by. These queries are put together from
DreamBooth's photos (https://github.com/google/dreambooth, CC BY 4.0) when they are needed, two to
five subjects side by side, each with its name and box; which ones is fixed in ``montages.json``,
see ``montage_list``. Every subject is introduced with another photo of it, and with nothing but
that, so that there is nothing to read: neither its published name (``<dog>``) nor an info.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageOps

from repic.files import at, below
from repic.types import Box, Example, Mention, Reference, Scene
from repic.values import Count, Missing, Questions, Side, Text, Whole

from .images import FileImage
from .inventory import DATABASE, LEAVE, QUERY, Inventory, data_root, once
from .montage_list import FILE, Montage, Subject, read_montages
from .personal import spread

# Number of photos -> photos in each row. Photos are square, and so the rows are of equal width
# without a cut: two of five stand larger below the other three.
ROWS = {2: (2,), 3: (3,), 4: (2, 2), 5: (3, 2)}
PAPER = "white"


def tiles(count: int, *, width: int, gap: int) -> tuple[list[Box], tuple[int, int]]:
    """Return the boxes of ``count`` square photos, row by row, and the size of the whole.

    Args:
        count: of photos; a key of ``ROWS``.
        width: of the whole, in pixels.
        gap: between photos, in pixels.

    Example:
        >>> tiles(2, width=9, gap=1)[0][1], tiles(5, width=64, gap=2)[1]
        (Box(x0=5.0, y0=0.0, x1=9.0, y1=4.0), (64, 53))
    """
    boxes, top = [], 0
    for number in ROWS[count]:
        # Rounding the edges, not the sides, lets every row end at the same pixel.
        edges = [round(i * (width + gap) / number) for i in range(number + 1)]
        side = min(right - left for left, right in pairwise(edges)) - gap
        for left, right in pairwise(edges):
            boxes.append(Box(float(left), float(top), float(right - gap), float(top + side)))
        top += side + gap
    return boxes, (width, top - gap)


@dataclass(frozen=True)
class MontageImage:
    """Photos in one picture, drawn when it is needed; see ``repic.types.ImageSource``.

    A photo that is not as square as its place loses what is over on both sides alike.

    Attributes:
        root: the folder below which the photos lie.
        photos: paths below it, by place.
        width: of the picture, in pixels.
        gap: white between photos, in pixels.
    """

    root: Path
    photos: tuple[str, ...]
    width: int
    gap: int

    @property
    def key(self) -> str:
        return f"montage:{self.width}:{self.gap}:{self.root}:{'+'.join(self.photos)}"

    @property
    def content(self) -> str:
        """The place of each photo, and hashes of their files."""
        hashes = [FileImage(self.root / photo).content for photo in self.photos]
        return f"montage:{self.width}:{self.gap}:{'+'.join(hashes)}"

    @property
    def boxes(self) -> list[Box]:
        return tiles(len(self.photos), width=self.width, gap=self.gap)[0]

    def load(self) -> Image.Image:
        """Draw it; ``ValueError`` names a photo that cannot be read."""
        boxes, size = tiles(len(self.photos), width=self.width, gap=self.gap)
        picture = Image.new("RGB", size, PAPER)
        for photo, box in zip(self.photos, boxes, strict=True):
            place = (round(box.x1 - box.x0), round(box.y1 - box.y0))
            shown = FileImage(self.root / photo).load()
            fitted = ImageOps.fit(shown, place, method=Image.Resampling.LANCZOS)
            picture.paste(fitted, (round(box.x0), round(box.y0)))
        return picture


class MontageDataset:
    """Captioning prompts over montages: ``dataset[i]`` is the same for ever.

    ``scene`` tells who is where, and nothing of what they look like. There are no reference
    captions.

    Args:
        root: folder that holds the data; None, or one that is missing, is refused with
            ``how_to_get``.
        photos: DreamBooth's folder, relative to ``root``.
        queries: a list of montages; None takes the one that comes with the package.
        questions: asked in turn.
        width: of the montages, in pixels.
        gap: between photos, in pixels.
        missing: what to do about photos that are not there: ``refuse`` or ``skip``.
        counts: numbers of subjects; montages of others are left out.
        size: at most so many, spread evenly over the list; None takes all.
        how_to_get: what to download and where to put it, for the error message.
        leave_root: let paths in the list, and links, lead out of ``photos``.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        photos: Text,
        queries: Text | None,
        questions: Questions,
        width: Side,
        gap: Whole,
        missing: Missing,
        counts: Collection[int],
        size: Count | None,
        how_to_get: Text,
        leave_root: bool = False,
    ) -> None:
        self._folder = data_root(root, how_to_get) / photos
        if width < 32 + 2 * gap:
            raise ValueError(f"data.test: a width of {width} and a gap of {gap} leave no room")
        file = FILE if queries is None else Path(queries)
        found = read_montages(file)
        for subject in found.subjects.values():
            for photo in (subject.reference, *subject.photos):
                with at(f"{file}: subject {subject.key!r}"):
                    below(self._folder, photo, may_leave=leave_root, key=LEAVE)
        self._subjects, rows = found.subjects, list(enumerate(found.montages, start=1))
        self.inventory = self._inventory([row for _, row in rows], how_to_get)
        kept, gone = self.inventory.at_hand("montages", rows, self._files, missing)
        self._rows = spread([row for row in kept if len(row[1].photos) in counts], size)
        self._questions, self._width, self._gap = tuple(questions), width, gap
        self._gone = gone

    @property
    def database(self) -> tuple[Reference, ...]:
        """Every subject whose introducing photo is at hand."""
        return tuple(
            self._reference(subject)
            for subject in self._subjects.values()
            if self._folder / subject.reference not in self._gone
        )

    @property
    def kinds(self) -> list[str]:
        """What the subjects are, each once."""
        return list(dict.fromkeys(subject.kind for subject in self._subjects.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, montage = self._rows[index]
        picture = MontageImage(self._folder, montage.photos, self._width, self._gap)
        present = tuple(self._subjects[key].name for key in montage.present)
        return Example(
            id=f"montages/{number}/{'+'.join(montage.present)}",
            task="caption",
            references=tuple(self._reference(self._subjects[key]) for key in montage.introduced),
            query=picture,
            question=self._questions[(number - 1) % len(self._questions)],
            present=present,
            num_concepts=len(present),
            scene=Scene(
                tuple(
                    Mention({}, name, box) for name, box in zip(present, picture.boxes, strict=True)
                )
            ),
        )

    def _reference(self, subject: Subject) -> Reference:
        return Reference(subject.name, None, FileImage(self._folder / subject.reference))

    def _files(self, row: tuple[int, Montage]) -> list[Path]:
        _, montage = row
        introduced = [self._subjects[key].reference for key in montage.introduced]
        return [self._folder / photo for photo in (*montage.photos, *introduced)]

    def _inventory(self, montages: Sequence[Montage], how_to_get: str) -> Inventory:
        references = [subject.reference for subject in self._subjects.values()]
        return Inventory(
            files={
                DATABASE: once(self._folder / photo for photo in references),
                QUERY: once(self._folder / photo for m in montages for photo in m.photos),
            },
            infos={},
            targets=[tuple(self._subjects[key].name for key in m.present) for m in montages],
            how_to_get=how_to_get,
        )
