import csv
import io
import json
import math
from dataclasses import replace

from repic.metrics.captions.bleu import Bleu
from repic.metrics.captions.copying import Copied
from repic.metrics.captions.diversity import Length
from repic.metrics.rescoring import METRICS
from repic.metrics.statistics import Score
from repic.tables.rescoring_table import FEW_IMAGES, NOTE, Rescored, rescoring_tables
from repic.tables.write import csv_text, json_text, markdown
from tests.unit.tables.test_write import shown

VALUES = dict(zip(METRICS, (100.0, 98.78, 99.387, 97.56, math.nan, 44.11), strict=True))
INTERVALS = {name: (value - 1.5, value + 1.5) for name, value in VALUES.items()}
OTHERS = Score({"bleu_1": 40.0, "words": 50.0, "copied": 3.0}, {"bleu_1": (39.0, 41.0)})
COLUMNS = tuple(c for metric in (Bleu(), Length(), Copied()) for c in metric.columns)
ROWS = [
    Rescored("a|b.json", "2-concept", "paper", 82, 41, Score(VALUES, INTERVALS)),
    Rescored("a|b.json", "2-concept", "robust", 82, 41, Score(VALUES, {})),
]


def test_a_row_for_each_protocol() -> None:
    (table,) = rescoring_tables(ROWS)
    header, _, *lines = markdown(table).splitlines()[2:-2]
    assert header == (
        "| set of captions | variant | protocol | captions | images"
        " | P | R | F1 | acc | CIDEr | words |"
    )
    assert lines == [
        "| a\\|b.json | 2-concept | paper | 82 | 41 | 100.0 [98.5, 101.5] | 98.8 [97.3, 100.3]"
        " | 99.4 [97.9, 100.9] | 97.6 [96.1, 99.1] | – | 44.1 [42.6, 45.6] |",
        "| a\\|b.json | 2-concept | robust | 82 | 41 | 100.0 | 98.8 | 99.4 | 97.6 | – | 44.1 |",
    ]
    text = shown(table)
    for part in ("82 captions", "41 images", "paper", "robust", "[97–100]", "44.1", "words"):
        assert part in text
    assert text.count("a|b.json") == 1


def test_intervals_over_few_images_are_not_to_be_trusted() -> None:
    assert rescoring_tables(ROWS)[0].note == NOTE
    few = [*ROWS, replace(ROWS[0], num_images=9)]
    assert rescoring_tables(few)[0].note == f"{NOTE} {FEW_IMAGES}"


def test_caption_metrics_have_a_row_a_set_whatever_the_protocols() -> None:
    rows = [
        replace(row, label=label, captions=OTHERS, columns=COLUMNS, left_out={"spice": "no jar"})
        for label in ("a|b", "c")
        for row in ROWS
    ]
    whole, first, second = rescoring_tables(rows)
    assert [row.label for row in first.rows] == ["a|b", "c"]
    assert [c.key for c in first.columns] == ["bleu_1"]  # CIDEr and words are in the first table
    assert [c.key for c in second.columns] == ["copied"]
    text = "\n".join(map(markdown, (whole, first, second)))
    assert "| set of captions | B-1 |\n| :-- | --: |\n| a\\|b | 40.0 [39.0, 41.0] |\n| c |" in text
    assert text.count("Left out: spice (no jar).") == 1
    # Programs find every metric in one table.
    line, *_ = csv.DictReader(io.StringIO(csv_text(whole)))
    assert list(line)[:6] == ["captions", "variant", "protocol", "num_captions", "num_images",
                              "precision"]  # fmt: skip
    assert (line["f1"], line["f1_low"], line["cider"]) == ("99.387", "97.887", "")
    assert (line["bleu_1"], line["bleu_1_high"], line["copied"]) == ("40", "41", "3")
    content = json.loads(json_text(whole))
    assert content["left_out"] == {"spice": "no jar"}
    assert content["rows"][0]["f1_ci"] == [99.387 - 1.5, 99.387 + 1.5]
