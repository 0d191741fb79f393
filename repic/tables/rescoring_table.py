"""The table of re-scored captions: for the terminal, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rich.table
from rich.text import Text

from repic.metrics.rescoring import METRICS
from repic.metrics.statistics import FEW_CLUSTERS, Score
from repic.tables.caption_tables import grouped, left_out_note
from repic.tables.estimates import Estimate
from repic.tables.table import ALL, Column, Row, Table
from repic.tables.write import ABSENT, cell_text, framed, write_text

TITLE = "Captions, scored anew"
NOTE = (
    "P, R, F1: precision, recall and F1 of names, in %; acc: captions that name exactly those"
    " present, in %. [low, high]: bootstrap interval over images. protocol=paper is RePIC's"
    " released evaluation: a token must be the name, names of two words are never found, and a"
    " wrong name counts only in a caption that leaves a right one out. protocol=robust finds names"
    " in any spelling (several words, aliases, possessives, with or without brackets), and every"
    " name of somebody absent, or bracketed name of nobody, is an error; where names are ordinary"
    " words, phase.rescore.database tells them from names. The variant is the released script for"
    " as many names a caption (phase.rescore.variant chooses another); robust has no variants."
)
FEW_IMAGES = (
    f"Intervals over fewer than {FEW_CLUSTERS} images are too narrow: over 4, a 95 % interval holds"
    " the truth some 80 times in 100. One image has none."
)
LABELS = dict(zip(METRICS, ("P", "R", "F1", "acc", "CIDEr", "words"), strict=True))


@dataclass(frozen=True)
class Rescored:
    """One set of captions by one protocol.

    Attributes:
        score: names, CIDEr and length.
        captions: the other caption metrics, which are the same by all protocols.
        left_out: caption metric -> why it could not be computed.
    """

    label: str
    variant: str
    protocol: str
    num_captions: int
    num_images: int
    score: Score
    captions: Score = field(default_factory=lambda: Score({}, {}))
    left_out: Mapping[str, str] = field(default_factory=dict)

    def estimate(self, metric: str) -> Estimate | None:
        """A metric with its interval; None where there is no value."""
        found = self.score if metric in self.score.values else self.captions
        value = found.values.get(metric, math.nan)
        if math.isnan(value):
            return None
        low, high = found.intervals.get(metric, (math.nan, math.nan))
        return Estimate(value, low, high, num_seeds=1)


def note_of(rows: Sequence[Rescored]) -> str:
    """Say how to read the table, and which intervals not to trust."""
    has_few = any(row.num_images < FEW_CLUSTERS for row in rows)
    return f"{NOTE} {FEW_IMAGES}" if has_few else NOTE


def terminal(rows: Sequence[Rescored]) -> rich.table.Table:
    """For ``rich.console.Console().print``; intervals stand under their values."""
    out = framed(TITLE, note_of(rows), leading=1)
    out.add_column("captions", min_width=16, overflow="fold")
    out.add_column("variant,\nprotocol")
    for label in LABELS.values():
        out.add_column(label, justify="right", no_wrap=True)
    shown = None
    for row in rows:
        label = Text()
        if row.label != shown:  # its protocols stand below each other
            counts = f"\n{row.num_captions} captions,\n{row.num_images} images"
            label = Text(row.label).append(counts, "dim")
        shown = row.label
        numbers = (_terminal_cell(row.estimate(metric)) for metric in METRICS)
        out.add_row(label, f"{row.variant}\n{row.protocol}", *numbers)
    return out


def caption_tables(rows: Sequence[Rescored]) -> list[Table]:
    """The other caption metrics, a row for each set of captions; for ``render.terminal``."""
    sets = list({row.label: row for row in rows}.values())
    names = dict.fromkeys(name for row in sets for name in row.captions.values)
    for name in METRICS:
        names.pop(name, None)  # the main table has it
    left_out = left_out_note({name: why for row in sets for name, why in row.left_out.items()})
    tables = []
    for title, columns, note in grouped(names):
        shown = tuple(
            Column(label, name, name, ALL, has_best=False) for name, label in columns.items()
        )
        tables.append(
            Table(
                title=f"Captions {title}",
                columns=shown,
                rows=tuple(Row(r.label, 1, tuple(map(r.estimate, columns))) for r in sets),
                note=f"{note} {left_out}".strip() if not tables else note,
                row_title="captions",
            )
        )
    return tables


def markdown(rows: Sequence[Rescored]) -> str:
    """A pipe table with the note below; the other caption metrics follow."""
    header = ["captions", "variant", "protocol", "number", "images", *LABELS.values()]
    lines = [_pipes(header), _pipes([":--"] * 3 + ["--:"] * (len(header) - 3))]
    for row in rows:
        numbers = (cell_text(row.estimate(metric)) for metric in METRICS)
        lines.append(_pipes([*map(str, _keys(row).values()), *numbers]))
    first = f"**{TITLE}**\n\n" + "\n".join(lines) + f"\n\n{note_of(rows)}\n"
    return "\n".join([first, *map(_caption_markdown, caption_tables(rows))])


def _caption_markdown(table: Table) -> str:
    header = [table.row_title, *(column.label for column in table.columns)]
    lines = [_pipes(header), _pipes([":--"] + ["--:"] * len(table.columns))]
    lines += [_pipes([row.label, *map(cell_text, row.estimates)]) for row in table.rows]
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.note}\n"


def csv_text(rows: Sequence[Rescored]) -> str:
    """For programs: value, low and high of every metric; empty where there is none."""
    out = io.StringIO()
    metrics = _all_metrics(rows)
    ends = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    names = ["captions", "variant", "protocol", "num_captions", "num_images", *ends]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [value for metric in metrics for value in _numbers(row, metric)]
        texts = ["" if value is None else f"{value:.6g}" for value in values]
        writer.writerow([*_keys(row).values(), *texts])
    return out.getvalue()


def json_text(rows: Sequence[Rescored]) -> str:
    """Everything, in full; null where there is no number."""
    content = [
        {
            **_keys(row),
            **{
                key: value
                for metric in _all_metrics(rows)
                for key, value in (
                    (metric, _numbers(row, metric)[0]),
                    (f"{metric}_ci", _interval(row, metric)),
                )
            },
        }
        for row in rows
    ]
    left_out = {name: why for row in rows for name, why in row.left_out.items()}
    found = {"note": note_of(rows), "left_out": left_out, "rows": content}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def write_rescored(folder: Path, rows: Sequence[Rescored]) -> list[Path]:
    """Write ``rescored.md``, ``.csv`` and ``.json`` into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, write in {".md": markdown, ".csv": csv_text, ".json": json_text}.items():
        paths.append(folder / f"rescored{suffix}")
        write_text(paths[-1], write(rows))
    return paths


def _all_metrics(rows: Sequence[Rescored]) -> list[str]:
    """Those of the main table, then those that some row has."""
    return list(dict.fromkeys([*METRICS, *(name for row in rows for name in row.captions.values)]))


def _keys(row: Rescored) -> dict[str, Any]:
    return {
        "captions": row.label,
        "variant": row.variant,
        "protocol": row.protocol,
        "num_captions": row.num_captions,
        "num_images": row.num_images,
    }


def _numbers(row: Rescored, metric: str) -> tuple[float | None, float | None, float | None]:
    estimate = row.estimate(metric)
    if estimate is None:
        return None, None, None
    if not estimate.has_interval:
        return estimate.mean, None, None
    return estimate.mean, estimate.low, estimate.high


def _interval(row: Rescored, metric: str) -> list[float] | None:
    _, low, high = _numbers(row, metric)
    return None if low is None or high is None else [low, high]


def _terminal_cell(estimate: Estimate | None) -> Text:
    if estimate is None:
        return Text(ABSENT)
    cell = Text(f"{estimate.mean:.1f}")
    if not estimate.has_interval:
        return cell
    return cell.append(f"\n{estimate.low:.0f}–{estimate.high:.0f}", "dim")


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
