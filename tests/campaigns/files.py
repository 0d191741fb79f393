"""Spoil every kind of file that the package reads: it is told in a sentence, or was sound.

    python -m tests.campaigns.files [kind ...]

Every file is cut, emptied, deep, of another type or encoding, and each of its values is replaced by
others. Nothing may end in a traceback, take long, or take much memory; what can only be wrong may
not pass.
"""

import argparse
import copy
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from repic.data.album import read_album
from repic.data.concepts import Folders, read_concepts, read_known_names, read_queries
from repic.data.montage_list import FILE as MONTAGES
from repic.data.montage_list import read_montages
from repic.data.repic_train import read_samples
from repic.judges.cache import AnswerCache
from repic.judges.prompts import Prompts
from repic.metrics import kept
from repic.metrics.caption_files import read_caption_file, read_predictions, read_references
from repic.metrics.captions.quiz import read_quizzes
from repic.settings import INPUTS, changed_inputs, config_of
from repic.tables.runs import read_metrics, read_run
from tests.campaigns.harness import Tried, apart, attempt, report
from tests.photos import draw_collection, draw_training, photo
from tests.unit.tables.saved import run_of

TOLD = (ValueError, OSError)


@dataclass(frozen=True)
class Kind:
    """A file that is read.

    Attributes:
        write: puts a sound one, and what it needs, into a folder; returns its path.
        read: reads it.
        is_json: whether it is one JSON value, whose parts are exchanged as well; lines of a JSON
            Lines file are spoiled one by one.
        is_any_text: whether any text is sound.
        open_keys: keys whose values may be anything.
        types: what values may be beside what they are, by the end of the way to them.
        more: contents that are wrong in ways of their own.
        may_be_empty: whether no content at all is sound.
        may_be_cut: whether a prefix may be sound.
        may_be_gone: whether no file at all is sound.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    is_json: bool = True
    is_any_text: bool = False
    open_keys: frozenset[str] = frozenset()
    types: dict[str, tuple[type, ...]] = field(default_factory=dict)
    more: Callable[[bytes], Iterator[tuple[str, bytes]]] = lambda content: iter(())
    may_be_empty: bool = False
    may_be_cut: bool = False
    may_be_gone: bool = False


def photos(folder: Path) -> Path:
    collection = draw_collection(folder)
    collection.write()
    draw_training(folder)
    return folder


def in_photos(name: str) -> Callable[[Path], Path]:
    return lambda folder: photos(folder) / name


def places(file: Path) -> Folders:
    root = file.parents[1]
    return Folders(root, {"dreambooth": "photos", "database_dreambooth": "real/crops"})


def queries(file: Path) -> object:
    folders = places(file)
    return read_queries(file, folders, read_concepts(file.with_name("database.json"), folders))


def text(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return write


def a_run(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        run_of(folder / "run", ("sft", [True, False]), ("grpo", [True, True]))
        rows = [
            {"phase": "sft", "iteration": 1, "sft/loss": 2.5},
            {"phase": "grpo", "iteration": 1, "grpo/kl": None},
        ]
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "run/metrics.jsonl").write_text(content)
        (folder / "run/config.yaml").write_text(CONFIG)
        (folder / "run/inputs.json").write_text('{"data.root": "ab12"}')
        return folder / "run" / name

    return write


def of_scores(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives of arrays that are larger than they look, or run something."""

    def archive(name: str, data: bytes, size: int = 0) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr(name, data)
            file.infolist()[0].file_size += size
        return out.getvalue()

    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": (10**11, 10)}
    )
    yield "a bomb", archive("phase.npy", head.getvalue(), size=3 << 30)
    yield "a lying shape", archive("rewards.npy", head.getvalue())
    pickled = io.BytesIO()
    np.save(pickled, np.array([print], dtype=object), allow_pickle=True)
    yield "a pickle", archive("metrics.npy", pickled.getvalue())


@cache
def model() -> Path:
    from tests.tiny import build_qwen

    return build_qwen(Path(tempfile.mkdtemp(prefix="campaign")) / "model")


def in_model(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        shutil.copytree(model(), folder / "model")
        return folder / "model" / name

    return write


def load(file: Path) -> None:
    """Load a model as a run does, and prepare a prompt."""
    from repic.models.directory import fingerprint
    from repic.models.generation import left_out
    from repic.models.loading import load_policy
    from tests.fakes import mixed_examples
    from tests.tiny import SETTINGS, sampling

    folder = str(file.parent)
    fingerprint(folder)
    load_policy(folder, **SETTINGS).encoder.encode(mixed_examples())
    left_out(folder, sampling())


def of_weights(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Weights whose header lies; chat templates without end."""
    if content[:1] == b"{" and b"messages" in content:
        loop = b"{% for i in range(90000) %}"
        yield "endless", loop * 4 + b"x" + b"{% endfor %}" * 4
        yield "a tower", b"{{ 9 ** 9 ** 9 }}"
        yield "long", b"{{ 'x' * 10 ** 11 }}"
        yield "unsafe", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"
        yield "unknown", b"{{ messages | nothing }}"
        yield "unbalanced", b"{% for i in messages %}"
        yield "of others", b"{% include '/etc/passwd' %}"
    if content[8:9] != b"{":
        return
    start = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:start]), content[start:]
    name = next(key for key in header if key != "__metadata__")

    def with_header(changed: Any) -> bytes:
        text = json.dumps(changed).encode()
        return len(text).to_bytes(8, "little") + text + data

    yield "a header of exabytes", (1 << 62).to_bytes(8, "little") + content[8:]
    yield "a deep header", with_header({}).replace(b"{}", b"[" * 100_000)
    yield "a header that is a list", with_header([])
    yield "no tensors", with_header({})
    for what, values in {
        "negative": {"data_offsets": [-8, header[name]["data_offsets"][1]]},
        "beyond": {"data_offsets": [0, 1 << 60]},
        "no numbers": {"data_offsets": ["a", "b"]},
        "another shape": {"shape": [1 << 40, 1 << 40]},
        "a negative shape": {"shape": [-1, -1]},
        "no dtype": {"dtype": "F7"},
        "whole numbers": {"dtype": "I32"},
    }.items():
        yield what, with_header({**header, name: {**header[name], **values}})
    yield "a weight too few", with_header({k: v for k, v in header.items() if k != name})
    yield "NaN", content[:start] + b"\xff" * len(data)


CONFIG = """\
name: toys
seed: 0
outputs: outputs
data:
  root: null
  test:
    _target_: repic.toybox.dataset.CaptionDataset
    counts: ???
method:
  evaluated: [sft]
"""
ABOUT = "name: Bo\ninfo: a grey cat\ncategory: cat\naliases: [Bobo]\n"
ALBUM = "questions: [Who is it?]\n"


def in_album(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        photo(folder / "album/bo/1.jpg", 7)
        (folder / "album" / name).write_text(content)
        return folder / "album" / name

    return write


def album(file: Path) -> object:
    root = next(folder for folder in file.parents if folder.name == "album")
    return read_album(root, largest=None)


def prompts(file: Path) -> object:
    from tests.judge_server import PROMPTS

    ours = {name: f"{name}.jinja" for name in PROMPTS}
    return Prompts(**{**ours, "facts": str(file)}).render("facts", caption="A cat.")


def answers(folder: Path) -> Path:
    with AnswerCache(folder / "judge.sqlite").open() as cache:
        cache.put("key", "model", "text")
    return folder / "judge.sqlite"


def read_answers(file: Path) -> object:
    with AnswerCache(file).open() as cache:
        return cache.get(["key"])


PUBLISHED = [["a.jpg", ["<bo>"], "<bo> sits.", "Who?"], ["b.jpg", ["<bo>", "<mi>"], "Both.", "?"]]
QUIZ = {"a.jpg": [{"question": "Which?", "choices": ["a bear", "a cat"], "answer": "a cat"}]}

OPTIONAL: Any = {"may_be_cut": True, "may_be_empty": True, "may_be_gone": True}
KINDS = {
    "database": Kind(
        in_photos("real/database.json"),
        lambda file: read_concepts(file, places(file)),
        open_keys=frozenset({"name"}),
    ),
    "names": Kind(
        in_photos("real/database.json"), read_known_names, open_keys=frozenset({"image"})
    ),
    "queries": Kind(in_photos("real/queries.json"), queries),
    "training samples": Kind(
        in_photos("repic/oict_training_5k_multi.json"),
        lambda file: read_samples(file, file.with_name("training_images")),
        types={"image": (str,)},
    ),
    "montages": Kind(
        lambda folder: Path(shutil.copy(MONTAGES, folder)),
        read_montages,
        open_keys=frozenset({"seed", "per_count"}),
    ),
    "references": Kind(text("r.json", '{"a.jpg": ["a cat", "a pet"]}'), read_references),
    "quizzes": Kind(text("q.json", json.dumps(QUIZ)), read_quizzes),
    "published captions": Kind(
        text("c.json", json.dumps(PUBLISHED)),
        lambda file: read_caption_file(file, file.name),
        types={"3": (type(None),)},
    ),
    "predictions": Kind(
        a_run("predictions.jsonl"),
        lambda file: read_caption_file(file, file.name),
        types={"names": (type(None),), "cider": (type(None),), "box": (int, float)},
    ),
    "own predictions": Kind(
        a_run("predictions.jsonl"),
        lambda file: read_predictions(file.parent),
        types={"names": (type(None),), "cider": (type(None),), "box": (int, float)},
        may_be_empty=True,
        may_be_cut=True,
        may_be_gone=True,
    ),
    "summary": Kind(
        a_run("summary.json"),
        lambda file: read_run(file.parent),
        open_keys=frozenset({"overrides", "choices", "settings", "left_out"}),
        types=dict.fromkeys(
            (
                "accuracy",
                "cider",
                "recall",
                "f1",
                "precision",
                "num_examples",
                "overall",
                "_ci/0",
                "_ci/1",
            ),
            (type(None),),
        ),
    ),
    "metrics": Kind(
        a_run("metrics.jsonl"),
        lambda file: read_metrics(file.parent),
        open_keys=frozenset({"sft/loss"}),  # what is no number is a note
        may_be_empty=True,
        may_be_cut=True,
        may_be_gone=True,
    ),
    "inputs": Kind(
        a_run(INPUTS),
        lambda file: changed_inputs(file.parent, {}),
        may_be_gone=True,
    ),
    "configuration": Kind(
        a_run("config.yaml"),
        lambda file: config_of(file.parent),
        is_json=False,
        may_be_cut=True,
        may_be_gone=True,
    ),
    "about a friend": Kind(in_album("bo/about.yaml", ABOUT), album, is_json=False, **OPTIONAL),
    "album": Kind(in_album("album.yaml", ALBUM), album, is_json=False, **OPTIONAL),
    "judge's prompt": Kind(
        text("facts.jinja", "{{ caption }}"), prompts, is_json=False, is_any_text=True
    ),
    "answers": Kind(answers, read_answers, is_json=False, **OPTIONAL),
    "scores": Kind(
        a_run(kept.FILE), lambda file: kept.read_scores(file.parent), is_json=False, more=of_scores
    ),
}
# A model is loaded for each: seconds where the others take milliseconds.
MODEL_KINDS = {
    name: Kind(
        in_model(name),
        load,
        is_json=name.endswith(".json"),
        more=of_weights,
        open_keys=frozenset("*"),  # a library's business; it must not be a traceback
        **more,
    )
    for name, more in {
        "model.safetensors": {},
        "config.json": {},
        "generation_config.json": {"may_be_gone": True},
        "tokenizer.json": {},
        "tokenizer_config.json": {},
        "preprocessor_config.json": {},
        "chat_template.jinja": {"is_any_text": True},
    }.items()
}

# What stands in a value's place. Whatever the type was, most of them are another.
VALUES: dict[str, Any] = {
    "null": None,
    "a list": [],
    "an object": {},
    "true": True,
    "a number": 3,
    "a fraction": 0.5,
    "a negative": -1,
    "a huge number": 10**400,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "text": "x",
    "no text": "",
    "half a pair": "\ud800",
    "a NUL": "a\0b",
    "long text": "y" * 1_000_000,
    "up": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "deep": [[[[[[[["x"]]]]]]]],
}


def of_bytes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Spoiled contents that no reader can take for sound, with what is wrong with each."""
    yield "empty", b""
    yield "blank", b" \n\n"
    for share in (1, 4, 7):
        yield f"cut at {share}/8", content[: max(1, len(content) * share // 8)]
    yield "cut by one", content.rstrip()[:-1]
    yield "UTF-16", content.decode("utf-8", "replace").encode("utf-16")
    yield "Latin-1", content[:3] + b"\xe9\xff" + content[3:]
    yield "NUL first", b"\0" * 64 + content
    yield "binary", bytes(range(256)) * 64
    yield "a page", b"<!doctype html><html><body>404</body></html>"
    yield "deep lists", b"[" * 200_000
    yield "closed deep lists", b"[" * 900 + b"]" * 900
    yield "deep objects", b'{"a":' * 200_000
    yield "another type", b'"text"'
    yield "a number", b"12"
    yield "null", b"null"
    yield "long number", b"9" * 5_000
    yield (
        "a Git LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a JSON value, the whole first."""
    yield path
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from leaves(part, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return changed


def of_values(kind: Kind, content: str, most: int) -> Iterator[tuple[str, bytes, bool]]:
    """Contents with one part replaced, and whether each can only be wrong."""
    lines = content.splitlines() if "}\n{" in content else [content]
    ways = list(leaves(json.loads(lines[0])))
    ways = ways[:: max(1, len(ways) // most)]
    for way in ways:
        here = json.loads(lines[0])
        old = here
        for key in way:
            old = old[key]
        place = "/".join(map(str, way))
        is_open = "*" in kind.open_keys or bool(kind.open_keys & {str(key) for key in way})
        for name, new in VALUES.items():
            numbers = (int, float) if type(old) in (int, float) else ()
            may_be = next((kind.types[end] for end in kind.types if place.endswith(end)), ())
            is_other = type(new) not in (type(old), *numbers, *may_be)
            is_wrong = is_other and not is_open and way != ()
            changed = json.dumps(replaced(here, way, new))
            rest = [changed, *lines[1:]]
            yield f"{place or 'all'} is {name}", "\n".join(rest).encode(), is_wrong


def spoil(kind: Kind, folder: Path, most: int) -> Iterator[tuple[str, Path, bool]]:
    """Write each spoiled file in turn: what was done, the file, and whether it may not pass."""
    file = kind.write(folder)
    kind.read(file)  # a sound one is read
    content = file.read_bytes()
    for name, changed in of_bytes(content):
        file.write_bytes(changed)
        is_sound = kind.may_be_empty and name in ("empty", "blank", "null")
        is_sound |= kind.may_be_cut and name.startswith("cut")
        is_sound |= kind.is_any_text
        yield name, file, not is_sound
    for name, changed in kind.more(content):
        file.write_bytes(changed)
        yield name, file, True
    if kind.is_json:
        for name, changed, is_wrong in of_values(kind, content.decode(), most):
            file.write_bytes(changed)
            yield name, file, is_wrong
    file.unlink()
    yield "gone", file, not kind.may_be_gone
    file.unlink(missing_ok=True)
    file.mkdir()
    yield "a folder", file, "*" not in kind.open_keys
    file.rmdir()
    file.symlink_to(file.name)
    yield "a link to itself", file, not kind.may_be_gone
    file.unlink(missing_ok=True)
    with file.open("wb") as sparse:
        os.truncate(sparse.fileno(), 20 << 30)
    yield "20 GB of nothing", file, True
    file.unlink()


def try_kind(name: str, most: int) -> Iterator[Tried]:
    kind = {**KINDS, **MODEL_KINDS}[name]
    with tempfile.TemporaryDirectory() as folder:
        for spoiled, file, may_not_pass in spoil(kind, Path(folder), most):
            # A model's folder is what is given; a library may say no more.
            named = file.name if name in KINDS else file.parent.name
            work = partial(attempt, partial(kind.read, file), names=named, told=TOLD)
            end, said = apart(work)
            yield Tried(f"{name}: {spoiled}", end, said, may_not_pass)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "kinds", nargs="*", default=[*KINDS, *MODEL_KINDS], help=", ".join([*KINDS, *MODEL_KINDS])
    )
    parser.add_argument("--most", type=int, default=40, help="values of a file that are replaced")
    options = parser.parse_args()
    tried = (one for name in options.kinds for one in try_kind(name, options.most))
    return report(tried)


if __name__ == "__main__":
    sys.exit(main())
