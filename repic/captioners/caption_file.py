"""Captions that exist, whoever wrote them, as a system of an evaluation."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from repic import files
from repic.captioners.captioner import Caption, Cost, Labels
from repic.metrics.caption_files import read_system
from repic.metrics.rescoring import CaptionRecord
from repic.types import Example
from repic.values import Text


class CaptionFile:
    """Finds a picture's caption in a file.

    Args:
        path: a caption file, or a folder of them; see ``repic.metrics.caption_files``.
        system: whose captions, where a predictions.jsonl holds several: base, sft, grpo, ...
        label: what tables call them.

    Raises:
        ValueError: there is no such file, or no caption of that system in it.
    """

    decoding = None

    def __init__(self, path: Text | None, system: Text | None, label: Text) -> None:
        if path is None:
            raise ValueError("captions: method.evaluated has `file`; say captions=<a caption file>")
        self.path, self.labels = path, Labels(label, label, is_shared=False, has_model=True)
        self.records: dict[str, list[CaptionRecord]] = {}
        for record in read_system(Path(path), system, "captioner.file.system"):
            self.records.setdefault(record.image, []).append(record)
        self.key = files.key_of(
            [(r.image, sorted(r.targets), r.caption) for rs in self.records.values() for r in rs]
        )

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        """Return the captions of the examples' pictures.

        Raises:
            ValueError: a picture has none, or several of which none is for these names.
        """
        return [Caption(self.record_of(example).caption, True) for example in examples]

    def record_of(self, example: Example) -> CaptionRecord:
        """The row of an example's picture: the one that asks for the same names, if several do."""
        picture = example.images[-1].key
        parts = PurePosixPath(picture).parts
        # A published file has paths below the folder of pictures.
        ends = [picture, *("/".join(parts[place:]) for place in range(len(parts)))]
        records = next((self.records[end] for end in ends if end in self.records), [])
        named = [r for r in records if set(r.targets) == set(example.present)] or records
        if len({record.caption for record in named}) != 1:
            number = "no caption" if not named else f"{len(named)} different captions"
            raise ValueError(f"{self.path}: {number} of {picture}, example {example.id}")
        return named[0]

    def cost(self) -> Cost:
        """Whatever it was, nothing is known of it."""
        return Cost()
