"""An album that people work on: photos are captioned while friends come and go.

Everything is read from the disk again when it has changed there, so a server that is stopped and
started loses nothing, and several may serve the same album.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from repic import files
from repic.captioners.photos import KEPT, Captioned, PassedOver, PhotoCaptioner, forget_captions
from repic.data.album import ABOUT, SETTINGS, Album, Friend, read_album
from repic.data.album_changes import add_friend, remove_friend
from repic.data.corrections import Correction, save_correction
from repic.models.engine.decoding import heard

MakeCaptioner = Callable[[Album], PhotoCaptioner]


class LiveAlbum:
    """Captions, and changes of the album; safe to call from several threads and programs.

    Args:
        root: the album; made if it is not there.
        folder: where captions and indices are kept.
        models: name of a model -> what makes its captioner for the album as it is; models and
            retrievers that are loaded already should be used again.
        question: what is asked about every photo of an album.
        largest: see ``FileImage``.
        forget: called when a friend has gone, to drop what is held in memory of them.
    """

    def __init__(
        self,
        root: Path,
        *,
        folder: Path,
        models: Mapping[str, MakeCaptioner],
        question: Callable[[Album], str],
        largest: int | None,
        forget: Callable[[], object] = lambda: None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.folder, self.largest = root, folder, largest
        self.models, self.question, self._forget = dict(models), question, forget
        self._lock = threading.Lock()  # one caption at a time: models are no more patient
        self._album: tuple[object, Album] | None = None
        self._made: dict[str, PhotoCaptioner] = {}
        self._read: Album | None = None  # what those rest on: the album, its first photos,
        self._first: object = None
        self._kept: object = None  # and what was kept when the last of them had written

    def album(self) -> Album:
        """As it is now.

        Raises:
            ValueError: somebody has put something into it that cannot be read.
        """
        state = self._state()
        known = self._album
        if known is None or known[0] != state:
            known = (state, read_album(self.root, largest=self.largest, may_be_empty=True))
            self._album = known
        return known[1]

    def _state(self) -> object:
        """Changes when a friend, a photo or what is said of them does."""
        folders = [path for path in self.root.iterdir() if path.is_dir() and path.name[0] != "."]
        known = [self.root / SETTINGS, *folders, *(folder / ABOUT for folder in folders)]
        return [(str(path), *files.stamp(path)) for path in sorted(known)]

    def caption(self, model: str, photo: Path) -> Iterator[str | Captioned | PassedOver]:
        """Yield the caption as far as it is written, again and again, and at last the result.

        Whoever stops listening stops nothing: the caption is written and kept.

        Raises:
            ValueError: nobody is in the album, or model, retriever or a friend cannot be read.
        """
        said: queue.SimpleQueue[str | Captioned | PassedOver | Exception] = queue.SimpleQueue()
        worker = threading.Thread(target=self._caption, args=(model, photo, said), daemon=True)
        worker.start()
        while True:
            item = said.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if not isinstance(item, str):
                return

    def _caption(self, model: str, photo: Path, said: "queue.SimpleQueue") -> None:
        try:
            with self._lock, files.only_one(self.folder / ".lock", wanted=True), heard(said.put):
                for result in self._captioner(model).caption([photo]):
                    said.put(result)
                self._kept = files.stamp(self.folder / KEPT)
        except Exception as error:  # is raised where the caption is waited for
            said.put(error)

    def _captioner(self, model: str) -> PhotoCaptioner:
        """Who captions the album as it is; one that has read all of that goes on.

        Raises:
            ValueError: nobody is in it.
        """
        album = self.album()
        if not album.friends:
            raise ValueError("nobody is in the album yet; add a friend first")
        first = [files.stamp(friend.photos[0].path) for friend in album.friends if friend.photos]
        is_same = self._read is album and self._first == first
        if not is_same or self._kept != files.stamp(self.folder / KEPT):
            self._made.clear()
        self._read, self._first = album, first
        if model not in self._made:
            self._made[model] = self.models[model](album)
        return self._made[model]

    def add(self, name: str, info: str, photos: Sequence[Path]) -> Friend:
        """Put somebody new into the album; see ``add_friend``."""
        return add_friend(self.root, name, info, photos, largest=self.largest)

    def remove(self, name: str) -> None:
        """Remove a friend, and everything that is kept of them.

        Args:
            name: in brackets.

        Raises:
            ValueError: there is no such friend.
        """
        album = self.album()
        friend = album.by_name.get(name)
        if friend is None:
            raise ValueError(f"{name.strip('<>')} is not in the album; perhaps they are gone")
        remove_friend(album, friend, forget=partial(self._drop, album, friend))

    def _drop(self, album: Album, friend: Friend) -> None:
        with self._lock, files.only_one(self.folder / ".lock", wanted=True):
            forget_captions(self.folder, album, friend)
            self._made.clear()
            self._forget()

    def correct(
        self,
        photo: Path,
        told: Captioned,
        *,
        wrong: Sequence[str] = (),
        right: Sequence[str] = (),
        words: str | None = None,
    ) -> Correction:
        """Keep what is right about a caption; see ``save_correction``."""
        return save_correction(
            self.root,
            photo,
            question=self.question(self.album()),
            introduced=[f"<{name}>" for name in told.introduced],
            said=told.said,
            wrong=wrong,
            right=right,
            words=words,
            largest=self.largest,
        )
