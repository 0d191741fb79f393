"""Read the captions that a run has left in its folder: ``predictions.jsonl``."""

from collections.abc import Iterator
from pathlib import Path

from repic.files import as_shape, read_rows
from repic.types import Prediction


def read_predictions(folder: Path) -> list[Prediction]:
    """Read ``predictions.jsonl``; empty if the run wrote no captions."""
    return [prediction for _, prediction in read_prediction_file(folder / "predictions.jsonl")]


def read_prediction_file(path: Path) -> Iterator[tuple[str, Prediction]]:
    """Yield predictions, each with its place (file and line) for complaints."""
    for place, row in read_rows(path):
        yield place, as_shape(Prediction, row, place, is_closed=True)
