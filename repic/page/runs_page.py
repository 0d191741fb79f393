"""The page of several runs: how they scored, how they learned, and what each says of one scene."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from repic.metrics.caption_files import read_predictions
from repic.page import gallery
from repic.page.cards import Fact, SceneCard
from repic.page.curves import accuracy_chart, compared_curves
from repic.page.gallery import Method
from repic.page.page import DENSE, write_report
from repic.settings import changes_results, split_override
from repic.tables.ablation import ablation
from repic.tables.columns import count_columns
from repic.tables.layouts import summary_tables
from repic.tables.runs import Run
from repic.tables.test_set import refuse_other_test_sets
from repic.tables.write import cell_text
from repic.types import Example
from repic.words import counted

# Gives the examples that the run in a folder captioned, or says in a ValueError why it cannot.
Remake = Callable[[Path], Iterable[Example]]


class Contents(NamedTuple):
    """What a page holds, for who asked for it."""

    num_runs: int
    num_methods: int
    num_scenes: int
    num_pictures: int


def write_runs_page(
    path: Path, runs: Sequence[Run], *, remake: Remake | None, num_items: int
) -> Contents:
    """Write the page.

    Args:
        path: the file.
        runs: what to compare; several seeds of one configuration are averaged.
        remake: for pictures, boxes and infos; None shows captions alone.
        num_items: at most so many scenes, shared evenly by the numbers of concepts.

    Raises:
        ValueError: no runs; runs that cannot be compared; a malformed file.
    """
    refuse_other_test_sets(runs)
    methods = gallery.methods_of(runs)
    scenes, notes = scene_cards(methods, remake=remake, num_items=num_items)
    names = list(dict.fromkeys(run.name for run in runs))
    write_report(
        path,
        title=" and ".join(names[:2]).replace("_", " ").capitalize()
        + (f" and {len(names) - 2} more" if len(names) > 2 else ""),
        subtitle=f"{counted(len(runs), 'run')}: {common_settings(runs)}",
        summary=headline(runs),
        tables=list(summary_tables(runs).values()),
        curves=compared_curves(runs),
        overview=accuracy_chart(runs),
        scenes=scenes,
        notes=notes,
        about={str(run.folder): about(run) for run in runs},
        layout=DENSE,
    )
    shown = sum(scene.image is not None for scene in scenes)
    return Contents(len(runs), len(methods), len(scenes), shown)


def headline(runs: Sequence[Run]) -> list[Fact]:
    """The highest accuracy at each number of concepts, and whose it is."""
    columns = count_columns(runs, "accuracy", "acc")
    rows = ablation(runs, columns).rows
    facts = []
    for i, column in enumerate(columns):
        found = [(row.label, cell) for row in rows if (cell := row.cells[i])]
        if not found:
            continue
        label, estimate = max(found, key=lambda pair: pair[1].mean)
        what = f"Highest recognition, %, {counted(int(column.count), 'concept')}"
        value, _, interval = cell_text(estimate).partition(" ")
        facts.append(Fact(what, value, f"{interval} · {label}" if interval else label))
    return facts


def scene_cards(
    methods: Sequence[Method], *, remake: Remake | None, num_items: int
) -> tuple[list[SceneCard], list[str]]:
    """The scenes to show, and what a reader must know of the choice."""
    scenes, speakers = gallery.gather(methods, read_predictions)
    sizes: dict[int, int] = {}
    for key in scenes:
        sizes[key.num_concepts] = sizes.get(key.num_concepts, 0) + 1
    keys = gallery.choose(scenes, gallery.shares(sizes, num_items))
    examples, failed = {}, {}
    if remake:
        folders = [run.folder for run in speakers.values()]
        examples, failed = gallery.find_examples(keys, folders, remake)
    cards = [gallery.scene_card(key, scenes[key], examples.get(key)) for key in keys]
    notes = [
        _choice_note([len(card.captions) for card in cards], len(scenes), len(speakers)),
        _seeds_note([m for m in methods if m.num_seeds > 1], speakers),
        _silence_note([m.label for m in methods if m.label not in speakers]),
        _pictures_note(len(keys) - len(examples), failed),
    ]
    return cards, [note for note in notes if note]


def common_settings(runs: Sequence[Run]) -> str:
    """The overrides that all runs share, those left out that change no result, and the seed."""
    first, *others = (
        [o for o in run.overrides if changes_results(split_override(o)[0])] for run in runs
    )
    shared = [override for override in first if all(override in other for other in others)]
    return " ".join(shared) or "no overrides in common"


def about(run: Run) -> str:
    """Where one run's numbers come from."""
    code = run.git_commit[:10] if run.git_commit else "not under version control"
    overrides = " ".join(run.overrides) or "no overrides"
    return f"seed {run.seed} · code {code} · {run.time_s / 60:.1f} minutes · {overrides}"


def _choice_note(num_captions: Sequence[int], num_all: int, num_models: int) -> str:
    if not num_captions:
        return ""
    whole = sum(number == num_models for number in num_captions)
    who = "all of them" if whole == len(num_captions) else f"{whole} of them"
    return (
        f"{len(num_captions)} of {num_all} scenes, the first of each number of concepts: nobody"
        f" has picked them. Every model captioned {who}."
    )


def _seeds_note(methods: Sequence[Method], speakers: Mapping[str, Run]) -> str:
    seeds = sorted({speakers[m.label].seed for m in methods if m.label in speakers})
    if not seeds:
        return ""
    shown = ", ".join(map(str, seeds))
    return f"Where there are several seeds, captions are those of the first (seed {shown})."


def _silence_note(labels: Sequence[str]) -> str:
    return f"No captions were saved by: {'; '.join(labels)}." if labels else ""


def _pictures_note(num_missing: int, failed: Mapping[Path, str]) -> str:
    """Said once, however many runs cannot make their examples again for the same reason."""
    if not num_missing or not failed:
        return ""
    folder, reason = next(iter(failed.items()))
    others = f" (nor from {len(failed) - 1} more)" if len(failed) > 1 else ""
    return (
        f"{num_missing} scenes are without pictures: they cannot be made again from"
        f" {folder / 'config.yaml'}{others}: {reason}"
    )
