"""The papers' settings, as conf/bench/paper.yaml has them."""

from repic.models.costs import SCHEMES, as_markdown, paper_table
from repic.models.costs.flops import image_tokens
from tests.counting import CONFIGS, PAPER


def test_the_papers_settings_make_a_table() -> None:
    rows = paper_table(**PAPER)
    assert len(rows) == len(PAPER["settings"]) * len(SCHEMES)
    lines = as_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    for setting in PAPER["settings"]:
        w = setting["workload"]
        pictures = sum(image_tokens(CONFIGS[setting["model"]], tuple(g)) for g in w["images"])
        assert pictures < w["prompt_tokens"]
