"""A small album that people work on, captioned by what names everybody; for tests of the page."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from repic.app.live import LiveAlbum
from repic.captioners.captioner import Caption
from repic.captioners.photos import PhotoCaptioner
from repic.data.album import Album
from repic.models.engine.decoding import _listener
from repic.types import Example
from tests.unit.captioners.test_photos import PROMPT, FindsFirst, NamesAll
from tests.unit.data.test_album import photo


class Spells(NamesAll):
    """Says what it writes word by word, as models do."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once, self.most_at_once = 0, 0

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        captions = super().write(examples)
        tell = _listener.get()
        for caption in captions:
            words = caption.text.split()
            for number in range(1, len(words) + 1):
                time.sleep(0.002)
                assert tell is not None
                tell(" ".join(words[:number]))
        self.at_once -= 1
        return captions


def make_album(folder: Path) -> Path:
    """Two friends in ``album``, three photos in ``uploads``; returns the folder."""
    photo(folder / "album" / "Bo" / "1.png", "blue")
    photo(folder / "album" / "Zoe" / "1.png", "white")
    for number in range(3):
        photo(folder / "uploads" / f"{number}.png", f"rgb({number},2,3)")
    return folder


def live(
    root: Path, writer: NamesAll, *, retriever: bool = False, forget: Callable[[], object] = int
) -> LiveAlbum:
    """That album with a model that needs no weights."""

    def make(album: Album) -> PhotoCaptioner:
        return PhotoCaptioner(
            album=album,
            captioner=lambda: writer,
            key="model",
            prompt=PROMPT,
            question="Who?",
            clip_question="Who?",
            frames=1,
            retriever=FindsFirst if retriever else None,
            most=6,
            largest=None,
            folder=root / "out",
            portion=2,
        )

    return LiveAlbum(
        root / "album",
        folder=root / "out",
        models={"model": make},
        question=lambda album: "Who?",
        largest=None,
        forget=forget,
    )
