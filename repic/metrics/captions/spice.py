"""SPICE by pycocoevalcap, where Java and its models are there.

Anderson et al. 2016, https://arxiv.org/abs/1607.08822. pycocoevalcap would download Stanford
CoreNLP 3.6.0 when it is first used, and keep it, and its cache, in its own package. Here nothing is
downloaded: without the two jars SPICE is left out.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pycocoevalcap.spice import get_stanford_models, spice

from repic.metrics.captions.metric import Captions, Metric, MetricFailed
from repic.metrics.captions.tokens import NO_JAVA, has_java, one_line
from repic.metrics.column import MEANING, ScoreColumn

SCALE = 100.0

FOLDER = Path(spice.__file__).parent
_JARS = tuple(f"{get_stanford_models.JAR}{end}.jar" for end in ("", "-models"))


class Spice(Metric):
    """SPICE × 100: F1 of scene-graph tuples, the mean over captions."""

    def __init__(self) -> None:
        super().__init__(ScoreColumn("spice", "SPICE", "up", MEANING))

    def missing(self) -> str | None:
        if not has_java():
            return NO_JAVA
        library = FOLDER / get_stanford_models.SPICELIB
        if lacking := [jar for jar in _JARS if not (library / jar).is_file()]:
            archive = f"nlp.stanford.edu/software/{get_stanford_models.CORENLP}.zip"
            return f"put {' and '.join(lacking)} (from {archive}) into {library}"
        if not os.access(FOLDER, os.W_OK):
            return f"it keeps its files in {FOLDER}, which cannot be written to"
        return None

    def statistics(self, captions: Captions) -> Float[np.ndarray, "N K"]:
        groups = [[one_line(text) for text in group] for group in captions.reference_words]
        judged = [i for i, group in enumerate(groups) if group]
        scores = np.full(len(groups), np.nan)
        if judged:
            references = {i: groups[i] for i in judged}
            answers = {i: [one_line(captions.words[i])] for i in judged}
            try:
                _, found = spice.Spice().compute_score(references, answers)
            except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
                raise MetricFailed(f"its jar failed ({error})") from error
            except KeyError as error:
                raise MetricFailed(f"its jar left out caption {error}") from error
            scores[judged] = [categories["All"]["f"] for categories in found]
        return self.rows(SCALE * scores)
