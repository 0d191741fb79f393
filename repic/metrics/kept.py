"""What was measured of each caption, kept: ``scores.npz`` beside a run's ``predictions.jsonl``.

A row a caption and metric, of which only sums matter: tables of any captions, intervals and paired
differences add rows up and apply the metric's ``values``. The file holds plain arrays, no pickle:
which caption a row is of (phase, id, number of concepts, picture), and for each metric its columns
(JSON), its rows and the name of its ``values``, which is looked up among this package's metrics
alone. Metrics of one's own that are means of captions' scores use this package's ``means``.
"""

import importlib
import json
import zipfile
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType

import numpy as np
from jaxtyping import Float

from repic import files
from repic.metrics.captions.metric import CaptionMetric, ValuesOf
from repic.metrics.column import ScoreColumn, as_rows, read_columns
from repic.metrics.statistics import Score, bootstrap_intervals, cluster_sums

FILE = "scores.npz"
HOME = "repic.metrics."
MEND = "delete it and summary.json, and start the run's command again: its captions are kept"
ALL = "all"
OVERALL = "overall"


@dataclass(frozen=True)
class Measured:
    """One metric's statistics of a set of captions.

    Attributes:
        columns: that ``values`` gives.
        rows: one a caption; NaN throughout where the metric was left out.
        values: from sums of rows to scores; None where it is no function of this package.
        is_of_the_whole: whether a row depends on the other captions of its model.
    """

    columns: tuple[ScoreColumn, ...]
    rows: Float[np.ndarray, "N K"]
    values: ValuesOf | None
    is_of_the_whole: bool = False

    def scores(self, sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
        """Scores by column of rows of sums."""
        assert self.values is not None
        found = self.values(sums)
        return {column.name: found[:, i] for i, column in enumerate(self.columns)}


@dataclass(frozen=True)
class CaptionScores:
    """Statistics of several metrics of the same captions.

    Attributes:
        keys: id and number of concepts of each caption.
        pictures: what each is a caption of; captions of one picture are drawn together.
        metrics: by name.
        rewards: each raw reward part of each caption, by name; NaN where one does not apply.
    """

    keys: tuple[tuple[str, int], ...]
    pictures: tuple[str, ...]
    metrics: Mapping[str, Measured]
    rewards: Mapping[str, Float[np.ndarray, " N"]] = field(default_factory=dict)

    def of_count(self, count: str) -> np.ndarray:
        """Which captions are of a number of concepts, or of any."""
        return np.array([count in (ALL, str(number)) for _, number in self.keys], dtype=bool)

    def part(self, count: str) -> "CaptionScores":
        """The captions of one number of concepts, or of all."""
        return self.take(np.flatnonzero(self.of_count(count)).tolist())

    def take(self, places: Sequence[int]) -> "CaptionScores":
        """Some of the captions, in this order."""
        return CaptionScores(
            tuple(self.keys[i] for i in places),
            tuple(self.pictures[i] for i in places),
            {name: replace(m, rows=m.rows[places]) for name, m in self.metrics.items()},
            {name: values[places] for name, values in self.rewards.items()},
        )

    def owner(self, column: str) -> Measured | None:
        """What gives a column; None where nothing does."""
        for found in self.metrics.values():
            if any(declared.name == column for declared in found.columns):
                return found
        if column != OVERALL:
            return None
        accuracy, cider = self.owner("accuracy"), self.owner("cider")
        if accuracy is None or cider is None:
            return None
        both = {"accuracy": accuracy, "cider": cider}
        return Measured(
            (ScoreColumn(OVERALL, OVERALL, "up", ""),),
            np.hstack([accuracy.rows, cider.rows]),
            lambda sums: all_scores(both, sums)[OVERALL][:, None],
        )


def all_scores(
    metrics: Mapping[str, Measured], sums: Float[np.ndarray, "S K"]
) -> dict[str, Float[np.ndarray, " S"]]:
    """Scores of all metrics, whose sums stand side by side, and "overall".

    That is the plain mean of accuracy (0 to 100) and CIDEr (0 to 1000).
    """
    ends = np.cumsum([metric.rows.shape[1] for metric in metrics.values()])
    parts = np.split(sums, ends[:-1], axis=1)
    found: dict[str, Float[np.ndarray, " S"]] = {}
    for metric, part in zip(metrics.values(), parts, strict=True):
        found |= metric.scores(part)
    if "accuracy" in found and "cider" in found:
        found[OVERALL] = (found["accuracy"] + found["cider"]) / 2
    return found


def score(
    metrics: Mapping[str, Measured],
    pictures: Sequence[Hashable],
    *,
    num_samples: int,
    confidence: float,
    seed: int,
) -> Score:
    """Scores of a set of captions with their intervals; only those that there are.

    Args:
        metrics: what was measured of the captions.
        pictures: what each is a caption of.
        num_samples: of the bootstrap over pictures.
        confidence: of the intervals.
        seed: of the bootstrap.
    """
    if not metrics or not pictures:
        return Score({}, {})

    def scores_of(sums: Float[np.ndarray, "S K"]) -> dict[str, Float[np.ndarray, " S"]]:
        return all_scores(metrics, sums)

    sums = cluster_sums(np.hstack([metric.rows for metric in metrics.values()]), pictures)
    values = {
        name: value.item()
        for name, value in scores_of(sums.sum(axis=0, keepdims=True)).items()
        if not np.isnan(value).any()
    }
    ends = bootstrap_intervals(
        sums, scores_of, num_samples=num_samples, confidence=confidence, seed=seed
    )
    return Score(values, {name: ends[name] for name in values if name in ends})


def measured(metric: CaptionMetric, rows: Float[np.ndarray, "N K"]) -> Measured:
    """A metric's statistics as they are kept."""
    return Measured(metric.columns, rows, metric.values, metric.is_of_the_whole)


def write_scores(path: Path, phases: Mapping[str, CaptionScores]) -> None:
    """Write every phase's statistics, whole or not at all."""
    number = {phase: len(found.keys) for phase, found in phases.items()}
    every = {n: m for found in phases.values() for n, m in found.metrics.items()}
    arrays = {
        "phase": np.array([phase for phase in phases for _ in range(number[phase])], dtype=str),
        "id": np.array([i for found in phases.values() for i, _ in found.keys], dtype=str),
        "num_concepts": np.array(
            [n for found in phases.values() for _, n in found.keys], dtype=np.int64
        ),
        "picture": np.array([p for found in phases.values() for p in found.pictures], dtype=str),
        "metrics": np.array(list(every), dtype=str),
    }
    for name, metric in every.items():
        absent = (np.nan, metric.rows.shape[1])
        blocks = [
            found.metrics[name].rows
            if name in found.metrics
            else np.full((number[phase], absent[1]), absent[0])
            for phase, found in phases.items()
        ]
        about = {
            "columns": as_rows(metric.columns),
            "values": _name_of(metric.values),
            "is_of_the_whole": metric.is_of_the_whole,
        }
        arrays[f"{name}/rows"] = np.concatenate(blocks)
        arrays[f"{name}/about"] = np.array(json.dumps(about, ensure_ascii=False))
    parts = dict.fromkeys(part for found in phases.values() for part in found.rewards)
    arrays["rewards"] = np.array(list(parts), dtype=str)
    for part in parts:
        kept = [
            found.rewards.get(part, np.full(number[phase], np.nan))
            for phase, found in phases.items()
        ]
        arrays[f"rewards/{part}"] = np.concatenate(kept)

    def write(part: Path) -> None:
        with part.open("wb") as file:  # of a path numpy would change the name
            np.savez_compressed(file, **arrays)

    files.write_file(path, write)


def read_scores(folder: Path) -> dict[str, CaptionScores]:
    """Read a run's statistics by phase.

    Raises:
        ValueError: they are not there, or are not what ``write_scores`` wrote.
    """
    path = folder / FILE
    try:
        _refuse_bombs(path)
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        metrics = {str(name): _measured(arrays, str(name)) for name in arrays["metrics"]}
        phases = [str(phase) for phase in arrays["phase"]]
        keys = list(zip(map(str, arrays["id"]), map(int, arrays["num_concepts"]), strict=True))
        pictures = [str(picture) for picture in arrays["picture"]]
        rewards = {str(part): arrays[f"rewards/{part}"] for part in arrays["rewards"]}
        if not len(keys) == len(phases) == len(pictures):
            raise ValueError("its arrays are of different lengths")
        rows = [*(metric.rows for metric in metrics.values()), *rewards.values()]
        if any(len(found) != len(keys) for found in rows):
            raise ValueError("its rows are not one a caption")
    except FileNotFoundError:
        raise ValueError(
            f"{folder}: there is no {FILE}, what was measured of each caption;"
            f" {MEND.replace('delete it and', 'delete')}"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: is cut short or no file of scores ({error}); {MEND}") from None
    except (
        *(KeyError, ValueError, TypeError, AttributeError),
        *(MemoryError, RecursionError, NotImplementedError),
    ) as error:
        raise ValueError(
            f"{path}: holds other scores than this release ({error}); {MEND}"
        ) from None
    every = CaptionScores(tuple(keys), tuple(pictures), metrics, rewards)
    return {phase: _of_phase(every, phases, phase) for phase in dict.fromkeys(phases)}


def _refuse_bombs(path: Path) -> None:
    """Raise for an archive that is small, and large when it is read."""
    with zipfile.ZipFile(path) as archive:
        if (size := sum(part.file_size for part in archive.infolist())) > files.MOST:
            raise ValueError(f"{size / 1e9:.1f} GB when it is read")


def _measured(arrays: Mapping[str, np.ndarray], name: str) -> Measured:
    about = json.loads(str(arrays[f"{name}/about"]))
    rows = arrays[f"{name}/rows"]
    if rows.ndim != 2 or rows.dtype != np.float64:
        raise ValueError(f"{name} has no rows of numbers")
    return Measured(
        read_columns(about["columns"]), rows, _values_of(about["values"]), about["is_of_the_whole"]
    )


def _of_phase(every: CaptionScores, phases: Sequence[str], phase: str) -> CaptionScores:
    """One phase's captions; a metric that was left out in it is not there."""
    found = every.take([i for i, other in enumerate(phases) if other == phase])
    kept = {name: m for name, m in found.metrics.items() if not np.isnan(m.rows).any()}
    return replace(found, metrics=kept)


def _name_of(values: ValuesOf | None) -> str:
    return "" if values is None else f"{values.__module__}:{values.__name__}"


def _values_of(name: str) -> ValuesOf | None:
    """The function of that name, if it is this package's: a file shall not say what is run."""
    module, _, function = name.partition(":")
    if not module.startswith(HOME):
        return None
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        found = None
    if not isinstance(found, FunctionType) or found.__module__ != module:
        raise ValueError(f"there is no {name}")
    return found
