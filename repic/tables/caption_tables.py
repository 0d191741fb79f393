"""Caption metrics as tables beside the main one, few enough columns each to be read."""

from collections.abc import Collection, Mapping, Sequence

from repic.tables.ablation import Ablation, ablation
from repic.tables.columns import ALL, WEIGHTED, MetricColumn
from repic.tables.name_tables import NAME_METRICS
from repic.tables.runs import Run

# Columns in their order; what a table's title adds, and what its note says of them.
GROUPS: tuple[tuple[str, Mapping[str, str], str], ...] = (
    (
        "against references: n-grams",
        {
            "cider": "CIDEr",
            "cider_r": "CIDEr-R",
            "bleu_1": "B-1",
            "bleu_2": "B-2",
            "bleu_3": "B-3",
            "bleu_4": "B-4",
            "rouge_l": "R-L",
        },
        "CIDEr and CIDEr-R are means over captions, from 0 to 1000; B: BLEU of the whole set;"
        " R-L: ROUGE-L.",
    ),
    (
        "against references and pictures: meaning",
        {
            "meteor": "METEOR",
            "spice": "SPICE",
            "bert_score": "BERT",
            "clip_score": "CLIP",
            "ref_clip_score": "RefCLIP",
        },
        "BERT: BERTScore F1, not rescaled; CLIP: CLIPScore.",
    ),
    (
        "against references: claims and language",
        {
            "precision_claims": "P",
            "recall_claims": "R",
            "language": "L",
            "b_capscore": "b-CapScore",
        },
        "P: right claims by claims; R: facts that are said by facts; L: language; b-CapScore: their"
        " harmonic mean. By toybox's grammar, in %.",
    ),
    (
        "by judges",
        {
            "dcscore": "DCScore",
            "dcscore_precision": "P",
            "dcscore_recall": "R",
            "caption_qa": "QA",
            "arena": "arena",
            "arena_inconsistent": "turns",
        },
        "DCScore: mean of two F1 (P: right facts by facts; R: facts that are told by facts), in %;"
        " QA: CaptionQA, what can be answered from the caption, in %; arena: wins less losses"
        " against the baselines, from -100 to 100; turns: choices that change with the order, in"
        " %. By toybox's grammar or by a model: metrics.scorers.<metric>.source.",
    ),
    (
        "by themselves",
        {
            "self_bleu": "Self-BLEU",
            "distinct_1": "D-1",
            "distinct_2": "D-2",
            "words": "words",
        },
        "Self-BLEU: BLEU-4 of a caption against all others (low: varied); D: different n-grams by"
        " all n-grams, in %. Both depend on how many captions there are, and their intervals take"
        " the other captions as given: they say nothing of other scenes.",
    ),
    (
        "against what the prompt says",
        {
            "copied": "copied",
            "copy_bleu_1": "B-1",
            "copy_bleu_4": "B-4",
            "copy_rouge_l": "R-L",
            "copy_meteor": "METEOR",
            "copy_spice": "SPICE",
            "copy_bert_score": "BERT",
        },
        "copied: words in runs of four or more that the prompt's infos have, too, in %. Where the"
        " infos are wrong, low is good.",
    ),
)
HIGH_IS_GOOD = frozenset(
    name
    for title, columns, _ in GROUPS
    if "references" in title or "judges" in title
    for name in columns
) - {"arena_inconsistent"}
# Two of BLEU's four orders are enough against the prompt. How much a judge left out is in the
# files, and in the log where it is anything.
_UNSHOWN = frozenset({"copy_bleu_2", "copy_bleu_3"})
_UNSHOWN |= {f"{name}_unjudged" for name in ("dcscore", "caption_qa", "arena")}


def grouped(names: Collection[str]) -> list[tuple[str, dict[str, str], str]]:
    """Title, columns (name and label) and note of every table that these metrics make.

    Metrics of one's own come last, under their own names.
    """
    known = {name for _, columns, _ in GROUPS for name in columns}
    others = {name: name for name in names if name not in known and name not in _UNSHOWN}
    groups = [*GROUPS, ("further metrics", others, "")]
    shown = [
        (title, {name: label for name, label in columns.items() if name in names}, note)
        for title, columns, note in groups
    ]
    return [group for group in shown if group[1]]


def caption_tables(runs: Sequence[Run]) -> list[Ablation]:
    """The caption metrics of runs over all numbers of concepts; none without any."""
    cells = [by_count.get(ALL, {}) for run in runs for by_count in run.metrics.values()]
    names = {name for cell in cells for name in cell if isinstance(cell[name], float)}
    names -= {
        "accuracy",
        "precision",
        "recall",
        "f1",
        "overall",
        "num_examples",
        *NAME_METRICS,
        WEIGHTED,
    }
    if not names - {"cider"}:
        return []  # the main table has CIDEr
    left_out = {name: why for run in runs for name, why in run.left_out.items()}
    return [
        ablation(
            runs,
            columns=[
                MetricColumn(label, name, name, ALL, has_best=name in HIGH_IS_GOOD)
                for name, label in columns.items()
            ],
            title=f"Captions {title}",
            note=f"{note} {left_out_note(left_out)}".strip() if i == 0 else note,
        )
        for i, (title, columns, note) in enumerate(grouped(names))
    ]


def left_out_note(left_out: Mapping[str, str]) -> str:
    """A sentence for each metric that could not be computed.

    Example:
        >>> left_out_note({"meteor": "it needs Java"})
        'Left out: meteor (it needs Java).'
    """
    if not left_out:
        return ""
    return f"Left out: {'; '.join(f'{name} ({why})' for name, why in left_out.items())}."
