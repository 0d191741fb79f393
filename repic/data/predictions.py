"""Read the captions that a run has left in its folder: ``predictions.jsonl``."""

from dataclasses import fields
from pathlib import Path

from repic.data.records import Record, is_number, read_records, shown, stream_records
from repic.types import Prediction


def read_predictions(folder: Path) -> list[Prediction]:
    """Read ``predictions.jsonl``; empty if the run wrote no captions."""
    return [prediction for _, prediction in read_prediction_file(folder / "predictions.jsonl")]


def read_first_phase(folder: Path) -> list[Prediction]:
    """Read the predictions of the phase that comes first in the file, and no further."""
    found: list[Prediction] = []
    for record in stream_records(folder / "predictions.jsonl"):
        if found and record.get("phase", str) != found[0].phase:
            break
        found.append(_prediction(record))
    return found


def read_prediction_file(path: Path) -> list[tuple[str, Prediction]]:
    """Read predictions, each with its place (file and line) for complaints."""
    return [(record.place, _prediction(record)) for record in read_records(path)]


def _prediction(record: Record) -> Prediction:
    known = {f.name for f in fields(Prediction)}
    if stray := sorted(key for key, _ in record.items() if key not in known):
        raise ValueError(f"{record.place}: unknown key {stray[0]!r}")
    rewards = record.get("rewards", dict)
    for key, value in rewards.items():
        if not is_number(value):
            raise ValueError(f"{record.place}: rewards.{key} is {shown(value)}, need a number")
    return Prediction(
        id=record.get("id", str),
        phase=record.get("phase", str),
        task=record.get("task", str),
        num_concepts=record.get("num_concepts", int),
        prompt=record.get("prompt", str),
        images=_texts(record, "images"),
        caption=record.get("caption", str),
        answers=_texts(record, "answers"),
        present=_texts(record, "present"),
        pool=_texts(record, "pool"),
        rewards=rewards,
        finished=record.get("finished", bool),
        infos=_texts(record, "infos", default=[]),  # younger than the others
    )


def _texts(record: Record, key: str, default: list[str] | None = None) -> tuple[str, ...]:
    values = record.get(key, list, default=default)
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{record.place}: {key!r} holds {shown(value)}, need text")
    return tuple(values)
