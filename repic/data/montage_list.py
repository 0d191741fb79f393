"""The fixed list of montages: who is in each, from which photos, and whom its prompt introduces.

``montages.json`` beside this file has two halves. ``subjects`` is written by hand: for each of
DreamBooth's thirty a made-up name (its published one, ``<dog>``, would tell what to look for), a
kind, shared by those that look alike, the photo that introduces it, and the photos to ask about.
``montages`` follows from it and from ``seed`` and ``per_count``:

    python -m repic.data.montage_list > montages.json   # rewrites the second half

What a montage keeps to:

1. its subjects are of different kinds, so no two of them look alike;
2. no photo of it is the one that introduces its subject;
3. its prompt introduces one or two who are not in it, first of all those who look like somebody
   who is;
4. subjects, and the photos of each, are shown as equally often as the first rule allows.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from repic.files import Texts, as_shape, read_json

FILE = Path(__file__).with_name("montages.json")
COUNTS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Subject:
    """One of those who may be in a montage.

    Attributes:
        name: with its brackets.
        kind: subjects of one kind look alike.
        reference: the photo that introduces it, such as ``dog/00.jpg``.
        photos: those to ask about.
        key: the folder of its photos, by which the file has it.
    """

    name: str
    kind: str
    reference: str
    photos: Texts
    key: str = ""


@dataclass(frozen=True)
class Montage:
    """One query.

    Attributes:
        photos: from the first place to the last.
        introduced: keys of subjects in the prompt's order, those who are absent included.
    """

    photos: tuple[str, ...]
    introduced: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Keys of those who are in it, by place."""
        return tuple(map(subject_of, self.photos))


@dataclass(frozen=True)
class MontageList:
    """The file."""

    seed: int
    per_count: int
    subjects: Mapping[str, Subject]
    montages: tuple[Montage, ...]


def subject_of(photo: str) -> str:
    """Return the key of a photo's subject: its folder."""
    return photo.partition("/")[0]


def choose_montages(
    subjects: Mapping[str, Subject], *, per_count: int, seed: int
) -> tuple[Montage, ...]:
    """Draw ``per_count`` montages of each of ``COUNTS``; see the module's docstring."""
    rng = random.Random(f"montages/{seed}")
    shown: Counter[str] = Counter()  # over all: who is behind comes first
    photos_used: Counter[str] = Counter()
    montages = []
    for count in COUNTS:
        for _ in range(per_count):
            present = _choose_present(subjects, count, shown, rng)
            photos = tuple(_least_used(subjects[key].photos, photos_used, rng) for key in present)
            absent = _choose_absent(subjects, present, rng)
            introduced = [*present, *absent]
            rng.shuffle(introduced)
            montages.append(Montage(photos, tuple(introduced)))
            shown.update(present)
            photos_used.update(photos)
    return tuple(montages)


def _choose_present(
    subjects: Mapping[str, Subject], count: int, shown: Counter[str], rng: random.Random
) -> list[str]:
    """Those who were shown least so far, of different kinds, in random order."""
    order = list(subjects)
    rng.shuffle(order)
    order.sort(key=lambda key: shown[key])
    chosen: list[str] = []
    for key in order:
        if subjects[key].kind not in {subjects[other].kind for other in chosen}:
            chosen.append(key)
        if len(chosen) == count:
            break
    rng.shuffle(chosen)
    return chosen


def _choose_absent(
    subjects: Mapping[str, Subject], present: Sequence[str], rng: random.Random
) -> list[str]:
    """One or two others; those who look like somebody present come first."""
    kinds = {subjects[key].kind for key in present}
    others = [key for key in subjects if key not in present]
    rng.shuffle(others)
    others.sort(key=lambda key: subjects[key].kind not in kinds)
    return others[: rng.randint(1, 2)]


def _least_used(photos: Sequence[str], used: Counter[str], rng: random.Random) -> str:
    least = min(used[photo] for photo in photos)
    return rng.choice([photo for photo in photos if used[photo] == least])


def read_montages(file: Path) -> MontageList:
    """Read the list; ``ValueError`` names the file, the place and what is wrong there."""
    found = as_shape(MontageList, read_json(file), str(file))
    subjects = {key: replace(subject, key=key) for key, subject in found.subjects.items()}
    for key, subject in subjects.items():
        _check_subject(f"{file}: subject {key!r}", subject)
    _refuse_twice(f"{file}: subjects' names", [subject.name for subject in subjects.values()])
    for number, montage in enumerate(found.montages, start=1):
        _check_montage(f"{file}: montage {number}", montage, subjects)
    return replace(found, subjects=subjects)


def _check_subject(place: str, subject: Subject) -> None:
    name, reference, photos = subject.name, subject.reference, subject.photos
    if not (len(name) > 2 and name.startswith("<") and name.endswith(">")):
        raise ValueError(f"{place}: a name is written in brackets, such as <bo>, not {name!r}")
    _refuse_twice(f"{place}: photos", photos)
    if reference in photos:
        raise ValueError(f"{place}: {reference} introduces it and cannot be asked about")
    for photo in (reference, *photos):
        if subject_of(photo) != subject.key:
            raise ValueError(f"{place}: {photo} is not in its folder")


def _check_montage(place: str, montage: Montage, subjects: Mapping[str, Subject]) -> None:
    photos, introduced = montage.photos, montage.introduced
    _refuse_twice(f"{place}: photos", photos)
    _refuse_twice(f"{place}: introduced", introduced)
    if len(photos) not in COUNTS:
        raise ValueError(f"{place}: has {len(photos)} photos; there may be {COUNTS}")
    for key in (*introduced, *montage.present):
        if key not in subjects:
            raise ValueError(f"{place}: {key!r} is none of the subjects")
    for photo in photos:
        if photo not in subjects[subject_of(photo)].photos:
            raise ValueError(f"{place}: {photo} is none of its subject's photos to ask about")
    _refuse_twice(f"{place}: kinds", [subjects[key].kind for key in montage.present])
    if gone := set(montage.present) - set(introduced):
        raise ValueError(f"{place}: {', '.join(sorted(gone))} is in it, and not introduced")


def _refuse_twice(place: str, values: Sequence[str]) -> None:
    for value, number in Counter(values).items():
        if number > 1:
            raise ValueError(f"{place}: {value!r} stands there twice; remove one")


def as_text(found: MontageList) -> str:
    """Write the list as the file has it: a line for each subject and montage."""
    subjects = []
    for subject in found.subjects.values():
        entry = asdict(subject)
        subjects.append(f"    {json.dumps(entry.pop('key'))}: {json.dumps(entry)}")
    montages = [f"    {json.dumps(asdict(montage))}" for montage in found.montages]
    return (
        f'{{\n  "seed": {found.seed},\n  "per_count": {found.per_count},\n  "subjects": {{\n'
        + ",\n".join(subjects)
        + '\n  },\n  "montages": [\n'
        + ",\n".join(montages)
        + "\n  ]\n}\n"
    )


def rewrite(found: MontageList) -> MontageList:
    """The same list with its montages drawn anew."""
    montages = choose_montages(found.subjects, per_count=found.per_count, seed=found.seed)
    return replace(found, montages=montages)


if __name__ == "__main__":
    sys.stdout.write(as_text(rewrite(read_montages(FILE))))
