import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from repic.metrics.captions.judged_capscore import JudgedCapScore
from repic.metrics.captions.metric import CaptionKey, Captions, MetricFailed
from tests.fakes import Noise
from tests.judge_server import Act, judge_server, make_judge, text_of
from tests.scores import column_scores, read_captions

CLAIMS = {
    "A bear, <mi>. It is cosy.": ["There is a bear.", "It is called <mi>.", "It is cosy."],
    "A bear.\nA bear, <bo>.": ["There is a bear.", "It is called <bo>."],
    "A cat.": ["There is a cat."],
}


def play(body: dict[str, Any], index: int) -> Act:
    """Every name is right, "cosy" is not pointable, and the cat's caption cannot be rated."""
    text = text_of(body)
    strings = [json.loads(line[line.index('"') :]) for line in text.splitlines() if '"' in line[:5]]
    if text.startswith("Take a caption"):
        return Act(json.dumps(CLAIMS[strings[0]]))
    if text.startswith("Check claims"):
        assert body["messages"][0]["content"][0]["type"] == "image_url"
        return Act(json.dumps(["no" if "cosy" in claim else "yes" for claim in strings]))
    if text.startswith("Compare a caption"):
        return Act(json.dumps(["yes" if "bear" in unit else "no" for unit in strings[1:]]))
    assert text.startswith("Judge how")
    if "A cat." in strings:
        return Act(status=400)
    return Act('{"clarity": 5, "fluency": 3, "coherence": 1}')


def captions(*texts: str) -> Captions:
    number = len(texts)
    keys = [CaptionKey("a.jpg", ("<bo>",))] * number
    references = [("A bear.", "A bear, <bo>.")] * number
    read = read_captions(texts, references, keys=keys)
    return replace(read, images=[Noise(0)] * number)


def test_columns_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    with judge_server(play) as server:
        metric = JudgedCapScore(judge=make_judge(server.base_url))
        rows = metric.statistics(captions("A bear, <mi>. It is cosy.", "", "A cat."))
        unknown = metric.statistics(replace(captions("A bear, <mi>. It is cosy."), keys=None))
        bare = metric.statistics(replace(captions("A cat."), references=[()]))
    # <mi> is nobody here, and "cosy" is not to be pointed at: 1 of 3. A bear is 1 of 2 units.
    assert rows == pytest.approx(np.array([[1 / 3, 1 / 2, 1 / 2, 1], [0, 0, 0, 1], [0] * 4]))
    assert unknown[0, 0] == pytest.approx(2 / 3)
    assert not bare.any()
    assert caplog.text.count("1 of 3 captions have no value") == 1
    assert "1 of 1 captions" not in caplog.text  # who has no reference has not failed
    values = column_scores(metric, rows[:1])
    assert values["b_capscore"].item() == pytest.approx(100 * 3 / (3 + 2 + 2))


def test_what_it_cannot_do_without() -> None:
    assert "judge=openai" in (JudgedCapScore(judge=None).missing() or "")
    with judge_server([Act(status=400)]) as server:
        metric = JudgedCapScore(judge=make_judge(server.base_url))
        assert metric.missing() is None
        with pytest.raises(MetricFailed, match="answered none of 1 questions"):
            metric.statistics(captions("A cat.", ""))
        known = replace(captions(""), references=[("A cow.",)])
        with pytest.raises(MetricFailed, match="judged none of 1 captions"):
            metric.statistics(known)
        with pytest.raises(MetricFailed, match="pictures are not at hand"):
            metric.statistics(replace(captions("A cat."), images=None))
