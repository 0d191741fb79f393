"""The same scenes with the captions of several models: which scenes, and their cards.

A scene is known by what is true of it (its example's id, who is in it, what may be said of it), not
by its prompt: models that were given other references for it are shown side by side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from repic.page.cards import BoxCard, CaptionCard, ReferenceCard, SceneCard
from repic.tables.ablation import Configuration, ablation, author_of
from repic.tables.runs import Run
from repic.types import Example, Prediction, Reference


class SceneKey(NamedTuple):
    """Examples are counted anew for every number of concepts, and for every set of rules."""

    num_concepts: int
    id: str
    present: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Method:
    """A model whose captions are shown: a row of the table.

    ``runs`` all have it, those of the first seed first.
    """

    label: str
    phase: str
    runs: tuple[Run, ...]
    num_seeds: int = 1


# label of a method -> its caption of the scene
Captions = Mapping[str, Prediction]


def key_of(item: Prediction | Example) -> SceneKey:
    """What two captions of one scene have in common."""
    return SceneKey(item.num_concepts, item.id, tuple(sorted(item.present)), item.answers)


def methods_of(runs: Sequence[Run]) -> list[Method]:
    """One method a row of the ablation table, except those that have no model.

    Raises:
        ValueError: runs that cannot be compared; see ``ablation``.
    """
    return [
        Method(
            row.label, row.phase, tuple(sorted(_sharing(row, runs), key=_by_seed)), row.num_seeds
        )
        for row in ablation(runs).rows
        if author_of(runs, row.phase).has_model
    ]


def gather(
    methods: Sequence[Method], read: Callable[[Path], Sequence[Prediction]]
) -> tuple[dict[SceneKey, dict[str, Prediction]], dict[str, Run]]:
    """Every scene that a method captioned, with the captions in the order of the methods.

    Args:
        methods: each speaks by the first of its runs that has captions.
        read: gives the predictions in a run's folder.

    Returns:
        The scenes, and by which run each method speaks; one without captions is not there.
    """
    scenes: dict[SceneKey, dict[str, Prediction]] = {}
    speakers: dict[str, Run] = {}
    files: dict[Path, Sequence[Prediction]] = {}
    for method in methods:
        for run in method.runs:
            if run.folder not in files:
                files[run.folder] = read(run.folder)
            said = [p for p in files[run.folder] if p.phase == method.phase]
            if said:
                speakers[method.label] = run
                for prediction in said:
                    scenes.setdefault(key_of(prediction), {})[method.label] = prediction
                break
    return scenes, speakers


def choose(scenes: Mapping[SceneKey, Captions], quotas: Mapping[int, int]) -> list[SceneKey]:
    """The first scenes of each number of concepts, which nobody has picked.

    Scenes that all methods captioned come before those that only some did.

    Args:
        scenes: in the order in which they were captioned.
        quotas: at most so many of each number of concepts.

    Returns:
        Keys by number of concepts.
    """
    by_most = sorted(scenes, key=lambda key: -len(scenes[key]))  # stable
    return [
        key
        for count in sorted(quotas)
        for key in [key for key in by_most if key.num_concepts == count][: quotas[count]]
    ]


def shares(sizes: Mapping[int, int], total: int) -> dict[int, int]:
    """Share a total out evenly; what is above a part's size goes to the others.

    Example:
        >>> shares({1: 100, 3: 2, 5: 100}, 11)
        {1: 5, 3: 2, 5: 4}
    """
    given, left = dict.fromkeys(sizes, 0), min(total, sum(sizes.values()))
    # The smallest part first: what it cannot take is then shared by those that can.
    for number, part in enumerate(sorted(sizes, key=lambda part: (sizes[part], -part))):
        given[part] = min(sizes[part], left // (len(sizes) - number))
        left -= given[part]
    return given


def find_examples(
    keys: Sequence[SceneKey],
    folders: Iterable[Path],
    remake: Callable[[Path], Iterable[Example]],
) -> tuple[dict[SceneKey, Example], dict[Path, str]]:
    """Make the examples of scenes again, for their pictures, boxes and references.

    Args:
        keys: which.
        folders: of runs; each is asked for what those before it did not have.
        remake: gives the examples that a run in a folder captioned, or raises ``ValueError``.

    Returns:
        Examples, and the folders of runs whose examples could not be made, with the reason.
    """
    found: dict[SceneKey, Example] = {}
    failed: dict[Path, str] = {}
    wanted = set(keys)
    for folder in dict.fromkeys(folders):
        if not wanted:
            break
        try:
            for example in remake(folder):
                if (key := key_of(example)) in wanted:
                    found[key] = example
                    wanted.discard(key)
                    if not wanted:
                        break
        except ValueError as error:
            failed[folder] = str(error)
    return found, failed


def scene_card(key: SceneKey, captions: Captions, example: Example | None) -> SceneCard:
    """Join what is known of a scene."""
    first = next(iter(captions.values()))
    # A method may have been given others' references: each name is listed once.
    pool = dict.fromkeys(name for p in captions.values() for name in (*p.pool, *p.present))
    known = {r.name: r for r in example.references} if example else {}
    scene = example.scene if example else None
    return SceneCard(
        id=key.id,
        num_concepts=key.num_concepts,
        image=example.query if example else None,
        boxes=tuple(BoxCard(m.box, m.name) for m in scene.mentions if m.box) if scene else (),
        references=tuple(_reference_card(name, known.get(name), first) for name in pool),
        captions=tuple(
            CaptionCard(
                author=author,
                text=p.caption,
                rewards=p.rewards,
                finished=p.finished,
                introduced=None if set(pool) == set(p.pool) else p.pool,
            )
            for author, p in captions.items()
        ),
        answer=first.answers[0] if first.answers else None,
    )


def _reference_card(name: str, known: Reference | None, prediction: Prediction) -> ReferenceCard:
    return ReferenceCard(
        name=name,
        info=known.info if known else None,
        image=known.image if known else None,
        is_present=name in prediction.present,
    )


def _sharing(row: Configuration, runs: Sequence[Run]) -> list[Run]:
    """The runs whose results a row shows; several may have the same base model, or SFT."""
    if not author_of(runs, row.phase).is_shared:
        return list(row.runs.values())
    shown = {repr(run.metrics[row.phase]) for run in row.runs.values()}
    return [run for run in runs if repr(run.metrics.get(row.phase)) in shown]


def _by_seed(run: Run) -> tuple[int, str]:
    return run.seed, str(run.folder)
