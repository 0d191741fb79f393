"""Read what a run has left in its folder; say exactly what is wrong with a file that is not right.

A run's folder holds ``summary.json`` (what was run and what came out), ``metrics.jsonl`` (numbers
along the way) and ``predictions.jsonl`` (captions; see ``repic.metrics.caption_files``).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import regex
from annotated_types import Interval

from repic.files import as_shape, at, read_json, read_rows, shown
from repic.metrics.column import ScoreColumn
from repic.settings import FILE, config_of

# metric -> value, and "<metric>_ci" -> (low, high)
Cell = Mapping[str, float | tuple[float, float]]


@dataclass(frozen=True)
class EvaluatedOn:
    """Which scenes were captioned, in two fingerprints; see ``repic.tables.test_set``.

    ``settings`` are for readers: values by key of the configuration.
    """

    scenes: str
    prompts: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """What a captioner is called, as it declares.

    Attributes:
        label: by tables.
        short: beside other words, as in a chart's title.
        is_shared: several runs may have the same captions of it, which tables show once.
        has_model: it can see; the page shows what it says of scenes.
    """

    label: str
    short: str
    is_shared: bool
    has_model: bool

    def of(self, what: str) -> "Labels":
        """Of the same captioner where it captions something else."""
        return replace(self, label=f"{self.label}, {what}", short=f"{self.short}, {what}")


@dataclass(frozen=True)
class Curve:
    """A chart that the page draws of what a phase logs, as the phase declares.

    Attributes:
        title: what stands above it.
        keys: a regular expression; each key that it matches whole is a line, called by what the
            expression's group holds.
        among: where the phase logs keys that begin so, only what they go on with is drawn, and
            the total: what is only measured has other units than what is trained on.
    """

    title: str
    keys: str
    among: str = ""


@dataclass(frozen=True)
class Phase:
    """A model of a run: what it is called, where it lies, and what its training logged."""

    phase: str
    checkpoint: str
    fingerprint: str
    started_from: str | None
    label: str
    short: str
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run's ``summary.json``.

    Attributes:
        choices: option by group of the configuration, for example ``{"reward": "combined"}``.
        metrics: author -> number of concepts (or "all") -> metric -> value. A value that could
            not be had (null in the file) is NaN.
        columns: what its metrics say of their columns.
        left_out: caption metric -> why it could not be computed.
        phases: the models there are, in the order in which they were made.
        authors: by the names that ``metrics`` has.
        test_set: which scenes were captioned; None where none were.
        costs: author -> what a friend costs, by the keys of ``layouts.COSTS``, as far as counted.
        recognition: author -> accuracy in % by kind of yes-or-no question.
        questions: author -> control (see ``layouts.CONTROLS``) -> accuracy in % by kind of question
            with options.
    """

    folder: Path
    name: str
    seed: int
    overrides: tuple[str, ...]
    choices: Mapping[str, str]
    git_commit: str | None
    time_s: float
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Mapping[str, Cell]]
    columns: tuple[ScoreColumn, ...] = ()
    authors: Mapping[str, Labels] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    test_set: EvaluatedOn | None = None
    costs: Mapping[str, Cell] = field(default_factory=dict)
    recognition: Mapping[str, Cell] = field(default_factory=dict)
    questions: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricRow:
    """One line of ``metrics.jsonl``."""

    phase: str
    iteration: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class _Author(Labels):
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Summary:
    name: str
    seed: int
    overrides: list[Any]
    choices: dict[str, Any]
    git_commit: str | None
    time_s: float
    phases: list[Phase]
    metrics: dict[str, dict[str, dict[str, Any]]]
    captioners: dict[str, _Author]
    columns: list[ScoreColumn] = field(default_factory=list)
    left_out: dict[str, Any] = field(default_factory=dict)
    test_set: EvaluatedOn | None = None
    recognition: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    questions: dict[str, dict[str, dict[str, Any]] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Step:
    phase: str
    iteration: Annotated[int, Interval(ge=0, le=2**53)]


def read_run(folder: Path) -> Run:
    """Read a run's summary.

    Raises:
        ValueError: there is none, or it is malformed; the message names file and key.
    """
    path = folder / "summary.json"
    mend = "did the run end? Start it again with the same command to complete it"
    found = as_shape(_Summary, read_json(path, mend=mend), str(path))
    for curve in (curve for phase in found.phases for curve in phase.curves):
        with at(f"{path}: curves, keys {shown(curve.keys)}"):
            _check_pattern(curve.keys)
    if unknown := [name for name in found.metrics if name not in found.captioners]:
        raise ValueError(f"{path}: 'captioners' does not have {unknown[0]!r}, whose metrics it has")
    if found.metrics and found.test_set is None:
        raise ValueError(f"{path}: has metrics, but no test_set that says what they are of; {mend}")
    return Run(
        folder=folder,
        name=found.name,
        seed=found.seed,
        overrides=tuple(map(str, found.overrides)),
        choices={group: str(option) for group, option in found.choices.items()},
        git_commit=found.git_commit,
        time_s=found.time_s,
        phases=tuple(found.phases),
        authors={
            name: Labels(**{f.name: getattr(author, f.name) for f in fields(Labels)})
            for name, author in found.captioners.items()
        },
        metrics=_metrics(f"{path}: metrics", found.metrics),
        columns=tuple(found.columns),
        left_out={metric: str(why) for metric, why in found.left_out.items()},
        test_set=found.test_set,
        costs={
            name: _cell(
                f"{path}: captioners.{name}.cost",
                {key: value for key, value in author.cost.items() if value is not None},
            )
            for name, author in found.captioners.items()
        },
        recognition={
            name: _cell(f"{path}: recognition.{name}", cell)
            for name, cell in found.recognition.items()
            if cell is not None
        },
        questions={
            name: {
                control: _cell(f"{path}: questions.{name}.{control}", cell)
                for control, cell in controls.items()
            }
            for name, controls in found.questions.items()
            if controls is not None
        },
    )


def _check_pattern(keys: str) -> None:
    try:
        num_groups = regex.compile(keys).groups
    except (regex.error, RecursionError) as error:
        raise ValueError(f"is no regular expression ({error})") from None
    if num_groups < 1:
        raise ValueError("has no group that names a line")


def evaluated_runs(roots: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Every run under some folders that evaluated something, each once; and who was passed over.

    Raises:
        ValueError: a folder holds no run, or one is malformed, or none was evaluated.
    """
    ended = [root for root in roots if not _has_only_begun(root)]
    found = {run.folder.resolve(): run for root in ended or roots for run in find_runs(root)}
    passed_over = [
        f"passed over, as it has not ended (the same command goes on with it): {folder}"
        for folder in find_unfinished(roots)
    ]
    passed_over += [
        f"passed over, as it evaluated nothing: {run.folder}"
        for run in found.values()
        if not run.metrics
    ]
    runs = [run for run in found.values() if run.metrics]
    if not runs:
        raise ValueError(f"{roots[0]}: no run there has evaluated anything")
    return runs, passed_over


def find_runs(root: Path) -> list[Run]:
    """Read every run in or under a folder, ordered by path.

    Raises:
        ValueError: there is none, or one is malformed.
    """
    found = [read_run(path.parent) for path in sorted(root.rglob("summary.json"))]
    if not found and not root.exists():
        raise ValueError(f"{root}: no such folder")
    if root.is_file():
        raise ValueError(f"{root}: is a file; name the folder that it lies in")
    if not found:
        begun = find_unfinished([root])
        more = f"; {begun[0]} has not ended: the same command goes on with it" if begun else ""
        raise ValueError(f"{root}: holds no finished run (no summary.json at any depth){more}")
    return found


def find_unfinished(roots: Iterable[Path]) -> list[Path]:
    """Folders in or under others of runs that were to evaluate something and have not ended."""
    configs = {path for root in roots for path in root.rglob(FILE)}
    return sorted(path.parent for path in configs if _is_unfinished(path.parent))


def _has_only_begun(root: Path) -> bool:
    """Whether a folder holds runs none of which has ended."""
    return not any(root.rglob("summary.json")) and bool(find_unfinished([root]))


def _is_unfinished(folder: Path) -> bool:
    if (folder / "summary.json").exists():
        return False
    try:
        return bool((config_of(folder) or {})["method"]["evaluated"])
    except (OSError, ValueError, TypeError, KeyError):
        return False  # another program's file of that name


def scores_by_key(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """A run's scores by one key each: captioner, number of concepts (or "all") and metric.

    The last captioner is also called ``test``, by which runs of several methods are compared.

    Example:
        >>> scores_by_key({"sft": {"all": {"cider": 4.0, "cider_ci": [3.0, 5.0]}}})
        {'sft/all/cider': 4.0, 'test/all/cider': 4.0}
    """
    found: dict[str, float] = {}
    for name, by_count in metrics.items():
        cells = {f"{count}/{k}": v for count, cell in by_count.items() for k, v in cell.items()}
        numbers = {key: value for key, value in cells.items() if isinstance(value, float)}
        found = {k: v for k, v in found.items() if not k.startswith("test/")}
        found |= {f"{place}/{k}": v for place in (name, "test") for k, v in numbers.items()}
    return found


def read_metrics(folder: Path) -> list[MetricRow]:
    """Read ``metrics.jsonl``; empty if the run logged nothing."""
    rows = []
    for place, row in read_rows(folder / "metrics.jsonl"):
        head = as_shape(_Step, row, place)
        numbers = {k: _number(v) for k, v in row.items() if _is_number(v)}
        values = {k: v for k, v in numbers.items() if k not in ("phase", "iteration")}
        rows.append(MetricRow(head.phase, head.iteration, values))
    return rows


def _metrics(
    place: str, phases: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, dict[str, Cell]]:
    for phase, counts in phases.items():
        for count in counts:
            if count != "all" and not re.fullmatch("[0-9]{1,4}", count):
                raise ValueError(
                    f"{place}.{phase}: {count!r} is neither a number of concepts nor all"
                )
    return {
        phase: {count: _cell(f"{place}.{phase}.{count}", cell) for count, cell in counts.items()}
        for phase, counts in phases.items()
    }


def _cell(place: str, values: Mapping[str, Any]) -> Cell:
    cell: dict[str, float | tuple[float, float]] = {}
    for key, value in values.items():
        is_interval = isinstance(value, list) and len(value) == 2
        found: list[Any] = list(value) if is_interval else [value]
        if is_interval != key.endswith("_ci") or not all(map(_is_number, found)):
            raise ValueError(f"{place}.{key}: {shown(value)} is not a number or interval")
        numbers = [_number(item) for item in found]
        if any(map(math.isinf, numbers)):
            raise ValueError(f"{place}.{key}: {shown(value)} is not finite")
        cell[key] = (numbers[0], numbers[1]) if is_interval else numbers[0]
    return cell


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _number(value: Any) -> float:
    """JSON has no NaN: null stands for a number that could not be had."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
