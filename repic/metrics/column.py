"""What a metric says of its columns: all that shows, compares or keeps them needs to know."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Direction = Literal["up", "down", "none"]

# Titles of the tables beside the main ones, in their order; another title makes another table.
NGRAMS = "against references: n-grams"
MEANING = "against references and pictures: meaning"
CLAIMS = "against references: claims and language"
JUDGES = "by judges"
THEMSELVES = "by themselves"
PROMPT = "against what the prompt says"
FURTHER = "further metrics"
TABLES = (NGRAMS, MEANING, CLAIMS, JUDGES, THEMSELVES, PROMPT)


@dataclass(frozen=True)
class ScoreColumn:
    """A number that a metric gives of a set of captions.

    Attributes:
        name: its key in summaries and files.
        label: the head of its column.
        direction: which values are better; "none" where nobody can say.
        table: the title of the table that it stands in; "" for what the main tables show.
        notes: sentences for that table; what several columns say stands there once.
        digits: after the point.
        is_shown: whether tables show it; summaries and files always do.
    """

    name: str
    label: str
    direction: Direction = "none"
    table: str = FURTHER
    notes: tuple[str, ...] = ()
    digits: int = 1
    is_shown: bool = True


def as_rows(columns: Iterable[ScoreColumn]) -> list[dict[str, Any]]:
    """For a summary, or the file of scores."""
    return [asdict(column) for column in columns]


def read_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[ScoreColumn, ...]:
    """Take back what ``as_rows`` gave.

    Raises:
        TypeError, KeyError: something else stands there.
    """
    return tuple(ScoreColumn(**{**row, "notes": tuple(row["notes"])}) for row in rows)
