"""An album's pictures as vectors that can be searched, kept on disk for as long as they hold.

A FAISS ``IndexFlatL2`` over vectors of length 1, as RePIC and RAP search: exact, and in the order
of the cosine, since the squared distance of unit vectors is 2 - 2 cos.

A folder holds ``index.faiss`` and, written after it, ``entries.json``: which row shows whom, a hash
of each picture's pixels, the embedder's version and a checksum of both files. What does not agree
is not believed: a picture that has changed is embedded anew, and a file that is damaged, or half
of a pair, is made again.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from repic.files import key_of, read_json, write_file, write_json
from repic.retrieval.parts import Embedder
from repic.types import Reference

log = logging.getLogger(__name__)

INDEX, ENTRIES = "index.faiss", "entries.json"


@dataclass(frozen=True)
class ReferenceIndex:
    """Vectors of references; row i shows ``names[i]``."""

    names: tuple[str, ...]
    faiss_index: Any

    def search(
        self, vectors: Float[np.ndarray, "N D"], nearest: int
    ) -> tuple[Float[np.ndarray, "N K"], Int[np.ndarray, "N K"]]:
        """Return squared distances, in ascending order, and rows; K is at most the album's size."""
        return self.faiss_index.search(vectors, min(nearest, len(self.names)))


def index_of(names: Sequence[str], vectors: Float[np.ndarray, "N D"]) -> ReferenceIndex:
    """An index in memory, of vectors of length 1."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)  # pyright: ignore[reportCallIssue]  # faiss's own Python layer
    return ReferenceIndex(tuple(names), index)


def open_index(root: Path, references: Sequence[Reference], embedder: Embedder) -> ReferenceIndex:
    """Read an album's index below ``root``, or make what is missing of it.

    Args:
        root: where the indices of all albums and embedders are kept.
        references: the album; every one has a picture, and no two have the same name.
        embedder: makes the vectors; is not called if nothing has changed.
    """
    ordered = sorted(references, key=lambda reference: reference.name)
    names = [reference.name for reference in ordered]
    if not names:
        raise ValueError("retrieval: the album has no pictures, so there is nothing to retrieve")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"retrieval: an album has several pictures of {', '.join(twice)}")
    sources = [reference.image for reference in ordered if reference.image is not None]
    if len(sources) < len(names):
        missing = [reference.name for reference in ordered if reference.image is None]
        raise ValueError(f"retrieval: an album has no picture of {', '.join(missing)}")
    key = key_of([embedder.version, names, [source.key for source in sources]])
    pictures = [source.load() for source in sources]
    entries = {
        "embedder": embedder.version,
        "names": names,
        "contents": [content_hash(picture) for picture in pictures],
    }
    kept = _read(root / key)
    if kept is not None and kept[1] == entries:
        return ReferenceIndex(tuple(names), kept[0])
    made = index_of(names, _made(pictures, entries["contents"], _vectors(kept), embedder))
    _write(root / key, made.faiss_index, entries)
    return made


def content_hash(picture: Image.Image) -> str:
    """Hash a picture's size and pixels, however its file encodes them."""
    header = f"{picture.mode} {picture.size}".encode()
    return hashlib.sha256(header + picture.tobytes()).hexdigest()


Kept = tuple[Any, dict[str, Any]]  # a FAISS index, and what entries.json says of its rows


def _vectors(kept: Kept | None) -> dict[str, Float[np.ndarray, " D"]]:
    """The vectors of an earlier index, by what the pictures show."""
    if kept is None:
        return {}
    index, entries = kept
    return dict(zip(entries["contents"], index.reconstruct_n(0, index.ntotal), strict=True))


def _made(
    pictures: Sequence[Image.Image],
    contents: Sequence[str],
    known: Mapping[str, Float[np.ndarray, " D"]],
    embedder: Embedder,
) -> Float[np.ndarray, "N D"]:
    """The vectors of pictures, of which those that are not known are embedded, each once."""
    new = {
        content: picture
        for content, picture in zip(contents, pictures, strict=True)
        if content not in known
    }
    if known and new:
        log.info("retrieval: %d of %d pictures are embedded anew", len(new), len(pictures))
    found = dict(known)
    if new:
        found |= dict(zip(new, embedder(list(new.values())), strict=True))
    return np.stack([found[content] for content in contents])


def _read(folder: Path) -> Kept | None:
    """Return an index and its entries if there are such and they agree."""
    if not (folder / ENTRIES).exists():
        return None
    try:
        data = (folder / INDEX).read_bytes()
        entries = read_json(folder / ENTRIES)
        seal = entries.pop("seal")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        seal, data, entries = None, b"", {}
    if seal != _seal(data, entries):
        log.warning("%s is damaged or half written; it is made anew", folder / INDEX)
        return None
    return faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8)), entries


def _write(folder: Path, index: Any, entries: Mapping[str, Any]) -> None:
    """Keep an index; a reader sees the old pair, the new one, or that they do not fit."""
    data = faiss.serialize_index(index).tobytes()
    sealed = {**entries, "seal": _seal(data, entries)}
    write_file(folder / INDEX, lambda part: part.write_bytes(data))
    write_json(folder / ENTRIES, sealed)


def _seal(data: bytes, entries: Mapping[str, Any]) -> str:
    """A checksum of both files together."""
    return hashlib.sha256(key_of(entries).encode() + data).hexdigest()
