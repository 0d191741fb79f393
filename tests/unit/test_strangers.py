"""Other people's files are read, never run: held over every call of the package that could."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("repic/**/*.py"), *ROOT.glob("examples/**/*.py")])

# What each call must say, whoever reads the file.
SAID = {
    "from_pretrained": ("trust_remote_code", False),  # or a question on stdin decides
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}
# They take no such word, and run nothing of what they read.
EXEMPT = ("LoraConfig.from_pretrained", "PeftModel.from_pretrained")
RUNS = ("eval", "exec", "input")
COUNTS_CORES = "from joblib import cpu_count"  # and reads no file
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
WORDS = (*SAID, *(f"{call}(" for call in RUNS), *PICKLES)


def faults(source: str) -> Iterator[str]:
    """Calls that may run what a file says, and modules that exist to."""
    if not any(word in source for word in WORDS):
        return  # most files; parsing them takes long
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom) and ast.unparse(node) != COUNTS_CORES:
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"imports {name}" for name in names if name.partition(".")[0] in PICKLES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in RUNS:
            yield f"calls {called}"
        word = SAID.get(called) or SAID.get(called.rpartition(".")[2])
        if word is not None and called not in EXEMPT:
            said = [k.value for k in node.keywords if k.arg == word[0]]
            if not (said and isinstance(said[0], ast.Constant) and said[0].value is word[1]):
                yield f"line {node.lineno}: {called} without {word[0]}={word[1]}"


def test_every_call_that_reads_weights_or_arrays_refuses_to_run_them() -> None:
    assert [f"{file}: {fault}" for file in SOURCES for fault in faults(file.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained(path)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=trusted)",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "import pickle",
        "from joblib import load",
        "input('[y/N]')",
    ],
)
def test_the_check_can_fail(source: str) -> None:
    assert list(faults(source))
