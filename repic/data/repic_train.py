"""RePIC's training samples: one JSON list, four kinds of questions.

A record, as released (https://github.com/oyt9306/RePIC, ``oict_training_5k_multi.json``):

    {"image": "path" or ["path", ...], "problem": question, "solution": answer,
     "accu_reward_method": "yes_no" | "iou" | "yes_no_name" | "yes_no_name_multi"}

The last picture is the one that is asked about, those before it are references. Deviations:

1. Prompts are laid out as those of the evaluation are, references first, each with its name; the
   released script shows all pictures first and one text after them in training alone.
2. What is added at the end of a question (one of three, for captions) follows from the seed and the
   record, so all rollouts of a group have the same prompt.
3. The order of the samples follows from the seed.

Boxes are pixels of the picture in the file. A picture that the model's processor makes smaller
(``model.max_pixels``) is answered in other pixels than its solution is measured in.
"""

import logging
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from repic.data.images import FileImage
from repic.data.inventory import (
    LEAVE,
    QUERY,
    REFERENCE,
    Inventory,
    data_root,
    once,
    telling,
)
from repic.data.prompts import PLACEHOLDER
from repic.files import Texts, as_shape, at, below, read_json
from repic.parsing import find_names, parse_box
from repic.types import Example, Reference
from repic.values import Count, Missing, Seed, Text

log = logging.getLogger(__name__)

_FARTHEST = 1e6  # pixels from a picture's edge
# RePIC's kinds of questions -> the tasks that rewards know.
TASKS = {
    "yes_no": "same",
    "iou": "locate",
    "yes_no_name": "caption",
    "yes_no_name_multi": "caption",
}


@dataclass(frozen=True)
class _Record:
    """A record as the file has it; what a ``solution`` is depends on the method."""

    image: Any
    problem: str
    solution: Any
    accu_reward_method: str


@dataclass(frozen=True)
class _Paths:
    image: Texts


class Sample(NamedTuple):
    """A record that has been checked; ``row`` counts from 1 in the file."""

    row: int
    method: str
    images: tuple[FileImage, ...]
    problem: str
    target: str
    names: tuple[str, ...]  # who a caption should name
    has_marks: bool = False  # the question had marks in the places of pictures

    @property
    def num_concepts(self) -> int:
        return max(len(self.names), 1)


class RepicTrainDataset:
    """``dataset[i]`` is a training example, the same for ever.

    Args:
        root: folder that holds the data; None, or one that is missing, is refused with
            ``how_to_get``.
        samples: the JSON file, relative to ``root``.
        images: the folder that the records' paths start from, relative to ``root``.
        suffixes: what may be added to a question, by method; one of them is drawn for each sample.
        counts: numbers of concepts; captions of others are left out.
        size: at most so many samples; None takes all.
        seed: decides the order, which samples are left out, and the suffixes.
        missing: what to do about pictures that are not there: ``refuse`` them all with
            ``how_to_get``, or ``skip`` the samples that need one, and say how many they are.
        how_to_get: what to download and where to put it, for the error message.
        leave_root: let paths in the records, and links, lead out of ``images``.
    """

    def __init__(
        self,
        root: Text | Path | None,
        *,
        samples: Text,
        images: Text,
        suffixes: Mapping[str, Sequence[str]],
        counts: Collection[int],
        size: Count | None,
        seed: Seed,
        missing: Missing,
        how_to_get: Text,
        leave_root: bool = False,
    ) -> None:
        folder = data_root(root, how_to_get)
        if set(suffixes) != set(TASKS) or not all(suffixes.values()):
            raise ValueError(f"data.train.suffixes: needs one or more for each of {list(TASKS)}")
        with telling(how_to_get):
            every = read_samples(folder / samples, folder / images, may_leave=leave_root)
        self.inventory = _inventory(every, how_to_get)
        kept, _ = self.inventory.at_hand(samples, every, _files_of, missing)
        found = [sample for sample in kept if sample.num_concepts in counts]
        random.Random(f"repic/{seed}").shuffle(found)
        self.samples = found[:size]
        self.suffixes, self.seed = suffixes, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample = self.samples[index]
        suffix = random.Random(f"repic/{self.seed}/{sample.row}").choice(
            self.suffixes[sample.method]
        )
        *shown, query = sample.images
        return Example(
            id=f"repic/{sample.row}",
            task=TASKS[sample.method],
            references=tuple(
                Reference(name, None, image)
                for name, image in zip(_names_of(sample, len(shown)), shown, strict=True)
            ),
            query=query,
            question=f"{sample.problem} {suffix}".strip(),
            target=sample.target,
            present=sample.names,
            num_concepts=sample.num_concepts,
        )


def read_samples(file: Path, images: Path, *, may_leave: bool = False) -> list[Sample]:
    """Read the file; a record that makes no sense is a ``ValueError`` with its row and key."""
    records = as_shape(list[Any], read_json(file), str(file))
    if not records:
        raise ValueError(f"{file}: holds no samples")
    found = [
        _sample(f"{file}: row {row}", row, record, partial(_picture, images, may_leave))
        for row, record in enumerate(records, start=1)
    ]
    if marked := sum(sample.has_marks for sample in found):
        log.warning(
            "%s: the questions of %d of %d samples hold <image> or the like, which are left out:"
            " pictures stand before the question",
            file,
            marked,
            len(found),
        )
    if flat := [str(sample.row) for sample in found if not _has_area(sample)]:
        log.warning(
            "%s: the boxes of rows %s have no area ([x0, y0, x1, y1]), so no answer is right; mend"
            " them, or take them out",
            file,
            ", ".join(flat[:10]) + ", ..." * (len(flat) > 10),
        )
    return found


def _has_area(sample: Sample) -> bool:
    box = parse_box(sample.target) if sample.method == "iou" else None
    return box is None or (box.x0 < box.x1 and box.y0 < box.y1)


def _files_of(sample: Sample) -> list[Path]:
    return [image.path for image in sample.images]


def _inventory(samples: Sequence[Sample], how_to_get: str) -> Inventory:
    shown = (image.path for sample in samples for image in sample.images[:-1])
    return Inventory(
        files={
            REFERENCE: once(shown),
            QUERY: once(sample.images[-1].path for sample in samples),
        },
        infos={},
        targets=[sample.names for sample in samples if sample.names],
        how_to_get=how_to_get,
    )


def _picture(images: Path, may_leave: bool, path: str) -> FileImage:
    return FileImage(below(images, path, may_leave=may_leave, key=LEAVE))


def _sample(place: str, row: int, value: object, picture: Callable[[str], FileImage]) -> Sample:
    record = as_shape(_Record, value, place)
    method = record.accu_reward_method
    problem = re.sub(rf"\s*{PLACEHOLDER.pattern}\s*", " ", record.problem, flags=re.I).strip()
    if method not in TASKS:
        raise ValueError(
            f"{place}, key 'accu_reward_method': {method!r} is not one of {', '.join(TASKS)}"
        )
    if not problem:
        raise ValueError(f"{place}, key 'problem': is empty, need a question")
    image = record.image
    paths = {"image": [image] if isinstance(image, str) else image}
    need = "a path or a list of paths"
    target, names = _solution(f"{place}, key 'solution'", method, record.solution)
    shown = as_shape(_Paths, paths, place, need=need).image
    with at(f"{place}, key 'image'"):
        pictures = tuple(map(picture, shown))
    has_marks = PLACEHOLDER.search(record.problem) is not None
    return Sample(row, method, pictures, problem, target, names, has_marks)


def _solution(place: str, method: str, solution: Any) -> tuple[str, tuple[str, ...]]:
    """Return the target text, and the names that a caption should use."""
    if method == "yes_no":
        if not isinstance(solution, str) or solution.strip().lower() not in ("yes", "no"):
            raise ValueError(f"{place}: needs yes or no, found {solution!r}")
        return solution.strip().lower(), ()
    if method == "iou":
        if (
            not isinstance(solution, list)
            or len(solution) != 4
            or not all(type(n) in (int, float) and 0 <= n <= _FARTHEST for n in solution)
        ):
            raise ValueError(f"{place}: needs four numbers [x0, y0, x1, y1], found {solution!r}")
        return str([round(number) for number in solution]), ()
    names = [solution] if isinstance(solution, str) else solution
    if not isinstance(names, list) or not names or not all(_is_name(name) for name in names):
        raise ValueError(f"{place}: needs a name such as '<bo>', or a list, found {solution!r}")
    return "", tuple(names)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and find_names(name) == [name] and not PLACEHOLDER.search(name)


def _names_of(sample: Sample, count: int) -> tuple[str, ...]:
    """Names of the references: the solution's, or those in the question, or their numbers."""
    names = sample.names or tuple(dict.fromkeys(find_names(sample.problem)))
    if len(names) == count:
        return names
    return tuple(f"<reference {number}>" for number in range(1, count + 1))
