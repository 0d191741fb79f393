"""Names by both protocols, as an evaluation counts them."""

from dataclasses import replace

import pytest

from repic.metrics.captions.metric import CaptionKey, Captions
from repic.metrics.naming import KnownNames, PaperNames, Recognition, name_shares
from repic.metrics.paper_names import VARIANTS
from repic.metrics.rescoring import score_captions
from repic.metrics.suite import Cell, MetricSuite
from repic.types import Prediction
from tests.scores import read_captions

POOL = ("<momi>", "<tavo>", "<black widow>")


def prediction(i: int, caption: str, *present: str, image: str | None = None) -> Prediction:
    return Prediction(
        id=f"scene/{i}",
        phase="sft",
        task="caption",
        num_concepts=len(present),
        prompt="",
        images=(image or f"{len(present)}/{i}",),
        caption=caption,
        answers=(f"{' and '.join(present)} in room {i}", "a red bear"),
        present=present,
        pool=POOL,
    )


CAPTIONS = [
    prediction(0, "<momi> waves at tavo", "<momi>"),  # paper: right; robust: one too many
    prediction(1, "black widow", "<black widow>"),  # paper: two tokens are never found
    prediction(2, "<tavo>", "<momi>"),  # wrong by both
    prediction(3, "nobody", "<tavo>"),
    prediction(4, "<momi>, <tavo>, <black widow>", "<momi>", "<tavo>"),  # names everybody
]


def cells(group: list[Prediction], num_samples: int = 50) -> dict[str, Cell]:
    suite = MetricSuite(
        counts=[1, 2], captions=[], tokenizer="words", scorers={}, bootstrap_samples=num_samples,
        confidence=0.95, seed=0,
    )  # fmt: skip
    return suite.cells(suite.measure(group))


def read(group: list[Prediction]) -> Captions:
    keys = [CaptionKey(p.images[-1], p.present) for p in group]
    return read_captions([p.caption for p in group], keys=keys, pools=[p.pool for p in group])


def test_both_protocols_worked_by_hand() -> None:
    found = cells(CAPTIONS)
    assert list(found) == ["1", "2", "all"]
    by_hand = {
        # hits, false, missed
        "1": {"paper_": (1, 1, 3), "": (2, 2, 2)},
        "2": {"paper_": (2, 0, 0), "": (2, 1, 0)},
        "all": {"paper_": (3, 1, 3), "": (4, 3, 2)},
    }
    for count, protocols in by_hand.items():
        for protocol, (hits, false, missed) in protocols.items():
            cell = found[count]
            assert cell[f"{protocol}precision"] == pytest.approx(100 * hits / (hits + false))
            assert cell[f"{protocol}recall"] == pytest.approx(100 * hits / (hits + missed))
            f1 = 200 * hits / (2 * hits + false + missed)
            assert cell[f"{protocol}f1"] == pytest.approx(f1)
    low, high = found["1"]["f1_ci"]
    assert low < found["1"]["f1"] < high


@pytest.mark.parametrize(("protocol", "prefix"), [("paper", "paper_"), ("robust", "")])
def test_one_number_of_concepts_is_what_rescoring_its_file_gives(
    protocol: str, prefix: str
) -> None:
    """Values and intervals of ``+experiment=rescore``, which counts captions of files."""
    group = CAPTIONS[:4]
    theirs = score_captions(
        read(group),
        protocol=protocol,
        variant=VARIANTS["single"],
        known=KnownNames(),
        num_samples=50,
        confidence=0.95,
        seed=0,
    )
    ours = cells(group)["1"]
    for name in ("precision", "recall", "f1", "accuracy"):
        assert ours[f"{prefix}{name}"] == theirs.values[name]
        assert ours[f"{prefix}{name}_ci"] == list(theirs.intervals[name])


def test_captions_of_one_picture_are_drawn_together() -> None:
    apart = [prediction(i, "<momi>" if i % 2 else "x", "<momi>") for i in range(8)]
    together = [replace(p, images=(f"{i // 4}",)) for i, p in enumerate(apart)]
    for name in ("recall", "accuracy", "paper_recall"):
        low, high = cells(apart, 200)["1"][f"{name}_ci"]
        assert low < 50 < high
        # Both pictures have two right captions of four: whichever is drawn, it is a half.
        assert cells(together, 200)["1"][f"{name}_ci"] == [50, 50]


def test_who_was_not_introduced_can_be_named_all_the_same() -> None:
    """A retriever may miss somebody who is there."""
    missed = replace(prediction(0, "momi waves", "<momi>"), pool=("<tavo>",))
    rows = Recognition().statistics(read([missed]))
    assert name_shares(rows).tolist() == [[100, 100, 100, 100]]


def test_naming_nobody_and_naming_everybody() -> None:
    several = ["a red bear", " and ".join(POOL), "a red bear"]
    group = [prediction(i, text, "<momi>") for i, text in enumerate(several)]
    group[2] = replace(group[2], present=())  # nobody is there, and nobody is named
    rows = Recognition().statistics(read(group))
    shares = name_shares(rows)
    assert shares[0].tolist() == [0, 0, 0, 0]
    assert shares[1] == pytest.approx([0, 100 / 3, 100, 50])
    assert shares[2, 0] == 100
    assert PaperNames().statistics(read(group[:2]))[:, 4].tolist() == [1, 1]
