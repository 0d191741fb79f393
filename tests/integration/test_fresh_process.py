"""What only another process can tell: what importing loads, and how long scoring takes."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PURE = ("parsing", "types", "judges", "rewards", "rl", "toybox")
HEAVY = ("hydra", "omegaconf", "pytorch_lightning", "transformers", "peft", "wandb", "openai")
LATE = ("repic.judges.batch",)  # imported when it is needed


def test_pure_layers_load_no_heavy_library() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for part in PURE
        for path in [ROOT / "repic" / f"{part}.py", *(ROOT / "repic" / part).rglob("*.py")]
        if path.exists() and path.name != "__init__.py"
    }
    names = sorted(modules - set(LATE))
    program = (
        f"import importlib, sys\n[importlib.import_module(name) for name in {names}]\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_the_command_asks_before_it_imports_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "try:\n    from repic.table import main; main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--orderings" in done.stdout


TIMED = """
import time
from pycocoevalcap.cider.cider_scorer import CiderScorer
from repic.parsing import tokenize_caption
from repic.rewards.cider import CiderD

colours = ("red", "blue", "green", "brown", "pink")

def caption(prompt, member):  # of 42 words
    return " ".join(
        f"On the {place} there is a striped {colours[(prompt + member + i) % 5]} bear with a"
        f" {colours[(prompt * member + i) % 5]} hat, <name{prompt}{i}>."
        for i, place in enumerate(("left", "middle", "right"))
    )

cider = CiderD.from_corpus([[caption(p, m) for m in range(5)] for p in range(50)])

def ours(groups):
    for references, said in groups:
        for text in said:
            cider.score(text, references)

def the_library_s(groups):
    scorer = CiderScorer()
    for references, said in groups:
        for text in said:
            scorer += (tokenized(text), [tokenized(reference) for reference in references])
    scorer.compute_score()

def tokenized(text):
    return " ".join(tokenize_caption(text))

def seconds(work, groups):
    begun = time.process_time()
    work(groups)
    return time.process_time() - begun

quickest = {ours: 1e9, the_library_s: 1e9}
for turn in range(15):
    prompts = range(100 + 8 * turn, 108 + 8 * turn)  # never seen before, with 8 captions each
    groups = [
        ([caption(p, m) for m in range(5)], [caption(p, m) for m in range(2, 10)]) for p in prompts
    ]
    for work in quickest:
        quickest[work] = min(quickest[work], seconds(work, groups))
print(quickest[the_library_s] / quickest[ours])
"""


def test_an_iteration_s_captions_are_scored_in_an_eighth_of_the_library_s_time() -> None:
    # In a process of its own, since type checks at every call would be most of the time. Two times
    # from one process, as milliseconds are other ones on another processor or a busy one.
    command = [sys.executable, "-c", TIMED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 8  # about 10: 11 ms against 114
