"""Which scenes a run was evaluated on, and which runs may stand in one table.

A test set is told by its content, in two fingerprints:

- ``scenes``: what was captioned. Ids, numbers of concepts, the pictures' own names, who is
  present, and the reference captions.
- ``prompts``: who was introduced, how. The pool, the references' pictures and infos.

Runs may stand in one table if their scenes are the same and their words are counted alike
(``metrics.tokenizer``). Prompts may differ only by a setting that says so (``is_of_prompt``: how
references are found, and whether they are exchanged): it is then in the labels of the rows, and
the best value is sought within each setting. So RePIC's table 1 has skip-retrieval and retrieval
below each other; a test set with other toys, or with more of them absent, is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repic.data.predictions import read_first_phase
from repic.tables.configuration import config_of
from repic.tables.run_settings import is_of_prompt, settings_of
from repic.tables.runs import Run
from repic.types import Prediction

TOKENIZER = "metrics.tokenizer"

# Of a configuration that was written before summaries had a test set.
_OLDER = {
    "phase.evaluate.split": ("phase", "evaluate", "split"),
    "phase.evaluate.per_count": ("phase", "evaluate", "per_count"),
    "phase.evaluate.seed": ("phase", "evaluate", "seed"),
    "phase.evaluate.demonstrations": ("phase", "evaluate", "demonstrations"),
    "metrics.counts": ("metrics", "counts"),
    TOKENIZER: ("metrics", "tokenizer"),
}

_MARKS = "fingerprints"


@dataclass(frozen=True)
class EvaluatedOn:
    """A run's test set.

    ``settings`` are for readers: values by key of the configuration.
    """

    scenes: str
    prompts: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def describe_test_set(
    predictions: Sequence[Prediction], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What ``summary.json`` says of the test set; None if nothing was captioned.

    Args:
        predictions: of one phase or of several, which captioned the same.
        settings: values by key of the configuration.
    """
    if not predictions:
        return None
    first = [p for p in predictions if p.phase == predictions[0].phase]
    scenes, prompts = fingerprints(first)
    return {"scenes": scenes, "prompts": prompts, "settings": dict(settings)}


def fingerprints(predictions: Sequence[Prediction]) -> tuple[str, str]:
    """Fingerprints of the scenes and of the prompts, whatever the order.

    Of a picture the last parts of its key count: the same photos may lie in another folder.
    """
    ordered = sorted(predictions, key=lambda p: (p.num_concepts, p.id))
    scenes = [
        [p.num_concepts, p.id, _tail(p.images[-1:], 1), sorted(p.present), p.answers]
        for p in ordered
    ]
    prompts = [[p.num_concepts, p.id, p.pool, _tail(p.images[:-1], 2), p.infos] for p in ordered]
    return _hash(scenes), _hash(prompts)


def evaluated_on(run: Run) -> EvaluatedOn | None:
    """A run's test set, from its summary or else from its captions; None if neither tells.

    Raises:
        ValueError: the summary's record is not right.
    """
    if run.test_set is not None:
        record = run.test_set
        for key, kind in (("scenes", str), ("prompts", str), ("settings", dict)):
            if not isinstance(record.get(key), kind):
                raise ValueError(
                    f"{run.folder}/summary.json: test_set.{key} is {record.get(key)!r}, need"
                    f" {kind.__name__}; remove test_set to have it read from the captions"
                )
        return EvaluatedOn(record["scenes"], record["prompts"], record["settings"])
    predictions = read_first_phase(run.folder)
    return EvaluatedOn(*fingerprints(predictions), older_settings(run)) if predictions else None


def tokenizer_of(run: Run) -> str:
    """The tokenizer of a run's CIDEr; older runs had none but "words"."""
    found = older_settings(run) if run.test_set is None else run.test_set["settings"]
    return str(found.get(TOKENIZER, "words"))


def older_settings(run: Run) -> dict[str, Any]:
    """The same settings from a run's configuration; none where there is no file."""
    tree = config_of(run.folder)
    if tree is None:
        return {}
    found: dict[str, Any] = {TOKENIZER: "words"}  # before it could be chosen
    for key, parts in _OLDER.items():
        node = tree
        for part in parts:
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            found[key] = node
    return found


def apart(runs: Sequence[Run]) -> list[list[Run]]:
    """Sort runs into sets that may stand in one table each, in the order of their first runs.

    A run whose test set is not known stands alone.
    """
    found = {id(run): evaluated_on(run) for run in runs}
    has_clash = {
        scenes: _first_clash([r for r in runs if _scenes(found[id(r)]) == scenes], found)
        for scenes in {_scenes(on) for on in found.values()}
    }
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        on = found[id(run)]
        if on is None:
            key: Any = id(run)
        else:
            key = (_scenes(on), on.prompts if has_clash[_scenes(on)] else "")
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def refuse_other_test_sets(runs: Sequence[Run]) -> None:
    """Raise if runs may not stand in one table; the message names two of them and the mend."""
    found = {id(run): evaluated_on(run) for run in runs}
    mend = (
        "compare them apart (python -m repic.table --apart: a table each), or leave one of them out"
    )
    if len(runs) < 2:
        return
    for run in runs:
        if found[id(run)] is None:
            raise ValueError(
                f"{run.folder}: it is not known what it was evaluated on: summary.json has no"
                f" test_set, and there is no predictions.jsonl to tell it from; {mend}"
            )
    first = runs[0]
    for run in runs[1:]:
        if _scenes(found[id(run)]) != _scenes(found[id(first)]):
            raise ValueError(
                f"{first.folder} and {run.folder} were not evaluated on the same:"
                f" {difference(first, run)}; {mend}"
            )
    if clash := _first_clash(runs, found):
        raise ValueError(
            f"{clash[0].folder} and {clash[1].folder} have the same scenes, but their prompts"
            " introduce others, and no setting of the prompts (retrieval,"
            f" phase.evaluate.demonstrations) says so: {difference(*clash)}; {mend}"
        )


def told_apart(groups: Sequence[Sequence[Run]], index: int) -> str:
    """What one of several test sets has of its own, and how many runs were evaluated on it."""
    found = [_readable(group[0]) for group in groups]
    keys = dict.fromkeys(key for values in found for key in values)
    own = [k for k in keys if len({str(values.get(k)) for values in found}) > 1]
    own = [k for k in own if k != _MARKS] or own
    parts = [f"{key}={_shown(found[index].get(key))}" for key in own]
    number = len(groups[index])
    return f"{', '.join(parts)} ({number} run{'' if number == 1 else 's'})"


def difference(one: Run, other: Run) -> str:
    """Say in which setting the test sets of two runs differ, with both values.

    Settings that change only whom prompts introduce are named last: they may differ in a table.
    Where no setting tells, the fingerprints do.
    """
    values = [_readable(run) for run in (one, other)]
    for key in sorted({**values[0], **values[1]}, key=is_of_prompt):
        a, b = (found.get(key) for found in values)
        if a != b and key != _MARKS:
            return f"{key} is {_shown(a)} in the first and {_shown(b)} in the second"
    a, b = (found[_MARKS] for found in values)
    return f"the examples themselves differ (fingerprints {a} and {b})"


def _readable(run: Run) -> dict[str, Any]:
    on = evaluated_on(run)
    parts = ("data", "retrieval", "metrics", "phase.evaluate")
    found: dict[str, Any] = {
        key: value
        for key, value in settings_of(run).items()
        if key in parts or key.startswith(tuple(f"{part}." for part in parts))
    }
    found |= on.settings if on else {}
    marks = f"{on.scenes[:8]}/{on.prompts[:8]}" if on else "unknown"
    return {**found, _MARKS: marks}


def _scenes(on: EvaluatedOn | None) -> tuple[str, str] | None:
    return None if on is None else (on.scenes, str(on.settings.get(TOKENIZER, "words")))


def _first_clash(
    runs: Sequence[Run], found: Mapping[int, EvaluatedOn | None]
) -> tuple[Run, Run] | None:
    """Two runs that have other prompts though they agree in all settings of prompts."""
    first: dict[tuple[tuple[str, str], ...], Run] = {}
    for run in runs:
        settings = sorted(pair for pair in settings_of(run).items() if is_of_prompt(pair[0]))
        other = first.setdefault(tuple(settings), run)
        a, b = found[id(other)], found[id(run)]
        if a is not None and b is not None and a.prompts != b.prompts:
            return other, run
    return None


def _tail(keys: Sequence[str], number: int) -> list[str]:
    return ["/".join(Path(key).parts[-number:]) for key in keys]


def _hash(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
