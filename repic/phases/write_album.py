"""Write a run's data out as an album of picture files; no model is needed, and none is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repic.data.as_album import write_as_album
from repic.retrieval.albums import HasDatabase
from repic.types import Examples
from repic.values import Text


@dataclass(frozen=True, kw_only=True)
class WriteAlbum:
    """Copy friends and photos.

    Attributes:
        split: which of the data's.
    """

    split: Text

    def __call__(self, open_split: Callable[[str], Examples], folder: Path) -> str:
        """Write ``album`` and ``photos`` into a folder below ``folder``; say what is there."""
        dataset = open_split(self.split)
        if not isinstance(dataset, HasDatabase):
            raise ValueError(
                f"data.{self.split}: each of its scenes has names of its own, and an album has one"
                " being of each name; for toys: python -m repic.toybox.album <folder>"
            )
        examples = (dataset[i] for i in range(len(dataset)))
        place = folder / "written"
        friends, photos = write_as_album(place, examples, dataset.database)
        return f"{friends} friends in {place / 'album'}, {photos} photos in {place / 'photos'}"
