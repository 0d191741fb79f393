"""Photos of several things with a mask for each: Break-A-Scene's examples, and others like them.

    <root>/<folder>/<scene>/img.jpg
    <root>/<folder>/<scene>/mask0.png ...   white where the first thing is, black elsewhere

https://github.com/google/break-a-scene (Apache-2.0), folder examples. Whoever is in a photo is
introduced by what its mask cuts out of that photo, on white: no thing is in two of them. So to
recognise somebody here is to find a part of a picture in it, which is easier than to know somebody
again in another.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repic.data.images import FileImage
from repic.data.inventory import DATABASE, QUERY, Inventory, data_root
from repic.data.personal import spread
from repic.types import Box, Example, Mention, Reference, Scene
from repic.values import Count, Missing, Questions, Text

_WHITE = 128  # from here on a level of a mask marks the thing


@dataclass(frozen=True)
class CutOut:
    """What a mask leaves of a photo, on white; see ``repic.types.ImageSource``."""

    photo: FileImage
    mask: FileImage

    @property
    def key(self) -> str:
        return f"{self.photo.key}#{self.mask.path.name}"

    @property
    def content(self) -> str:
        return f"{self.photo.content} cut by {self.mask.content}"

    @property
    def box(self) -> Box:
        """Around the mask; ``ValueError`` where it marks nothing."""
        found = self._marked().getbbox()
        if found is None:
            raise ValueError(f"{self.mask.path}: marks nothing; draw the thing in white on black")
        return Box(*map(float, found))

    def load(self) -> Image.Image:
        picture = self.photo.load()
        if self._marked().size != picture.size:
            raise ValueError(f"{self.mask.path}: is not as large as {self.photo.path.name}")
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=self._marked())
        x0, y0, x1, y1 = map(int, self.box)
        return paper.crop((x0, y0, x1, y1))

    def _marked(self) -> Image.Image:
        return Image.fromarray(np.asarray(self.mask.load().convert("L")) >= _WHITE).convert("L")


class MaskedPhotos:
    """Captioning prompts over photos with masks, in the order of the scenes' names.

    Args:
        root: folder that holds the data.
        folder: of the scenes, below ``root``.
        names: scene -> the things' names, in the order of their masks.
        questions: asked in turn.
        missing: what to do about photos that are not there: ``refuse`` or ``skip``.
        counts: numbers of things; other photos are left out.
        size: at most so many photos; None takes all.
        how_to_get: what to download and where to put it, for the error message.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        folder: Text,
        names: Mapping[str, Sequence[Text]],
        questions: Questions,
        missing: Missing,
        counts: Collection[int],
        size: Count | None,
        how_to_get: Text,
    ) -> None:
        home = data_root(root, how_to_get) / folder
        scenes = {
            FileImage(home / scene / "img.jpg"): tuple(f"<{name}>" for name in things)
            for scene, things in names.items()
        }
        self._cuts = {
            name: CutOut(photo, FileImage(photo.path.with_name(f"mask{number}.png")))
            for photo, things in scenes.items()
            for number, name in enumerate(things)
        }
        if len(self._cuts) < sum(map(len, scenes.values())):
            raise ValueError("data.test.names: a name stands there twice; give each thing its own")
        self.inventory = Inventory(
            files={
                DATABASE: tuple(cut.mask.path for cut in self._cuts.values()),
                QUERY: tuple(photo.path for photo in scenes),
            },
            infos=dict.fromkeys(self._cuts),
            targets=list(scenes.values()),
            how_to_get=how_to_get,
        )

        def files_of(row: tuple[FileImage, tuple[str, ...]]) -> list[Path]:
            return [row[0].path, *(self._cuts[name].mask.path for name in row[1])]

        kept, gone = self.inventory.at_hand("photos", list(scenes.items()), files_of, missing)
        self._database = tuple(
            Reference(name, None, cut)
            for name, cut in self._cuts.items()
            if gone.isdisjoint((cut.photo.path, cut.mask.path))
        )
        self._rows = spread([row for row in kept if len(row[1]) in counts], size)
        self._questions = tuple(questions)

    @property
    def database(self) -> tuple[Reference, ...]:
        """Every thing whose photo and mask are at hand."""
        return self._database

    @property
    def kinds(self) -> list[str]:
        """The things' names, which say what they are."""
        return [reference.name.strip("<>") for reference in self._database]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        photo, names = self._rows[index]
        boxes = [self._cuts[name].box for name in names]
        return Example(
            id=f"masked/{photo.path.parent.name}",
            task="caption",
            references=tuple(Reference(name, None, self._cuts[name]) for name in names),
            query=photo,
            question=self._questions[index % len(self._questions)],
            present=names,
            num_concepts=len(names),
            scene=Scene(tuple(map(Mention, [{}] * len(names), names, boxes))),
        )
