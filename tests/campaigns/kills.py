"""Kill a run again and again, at random moments and at its file operations, and look at its end.

    python -m tests.campaigns.kills --kills 120 model.lora='{r: 4, alpha: 8, dropout: 0.1}'

A small run (SFT, RL, export, captions, scores, page; with other settings, if any are given) is
started in a forked process and killed with SIGKILL a few times before it may get to its end; then
the next one begins. Half of the kills come at a moment, half at an operation on a file: before a
rename, an fsync, a removal, a directory or a file that is opened to be written. One in three of
those at an fsync cuts the file in half first, as a machine that loses its power may. Every end is
held to that of a run which was left alone: numbers, models, captions and names of files, without a
leftover.

    python -m tests.campaigns.kills --captions --kills 20

does the same to captions of an album: whatever a killed command had captioned is not captioned
again, and the tables and the page are those of one that was left alone.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module

from repic.caption import arguments, caption
from repic.files import read_lines
from repic.toybox.album import write_album
from tests.integration.small import FEW, rows_of, start, summary_of
from tests.tiny import build_qwen

SIZES = ("phase.sft.iterations=4", "phase.grpo.iterations=4", "phase.sft.checkpoint_every=1")
SIZES += ("phase.grpo.checkpoint_every=2", "phase.grpo.optimizer.lr=0.01", "phase.grpo.val_every=2")
SIZES += (FEW, "phase.evaluate.batch_size=1")
WRITING = os.O_WRONLY | os.O_RDWR
AUDITED = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # a replace is a rename


class Operations:
    """Counts what a process does to files below a folder, and kills it before one of them.

    Args:
        folder: other files are let alone.
        last: the number of the operation to be killed at; None only counts.
        is_torn: cut the file in half, if the last operation is an fsync.
    """

    def __init__(self, folder: Path, *, last: int | None = None, is_torn: bool = False) -> None:
        self.folder, self.last, self.is_torn = str(folder), last, is_torn
        self.count = 0
        self.kinds: Counter[str] = Counter()

    def watch(self) -> None:
        sys.addaudithook(self._audit)
        fsync: Callable[[int], None] = os.fsync

        def flushed(handle: int) -> None:
            self.met("fsync", os.readlink(f"/proc/self/fd/{handle}"))
            fsync(handle)

        os.fsync = flushed

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                self.met(event, path)
        elif event in AUDITED:
            self.met(event, arguments[0])

    def met(self, kind: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(self.folder):
            return
        self.count += 1
        self.kinds[kind] += 1
        if self.count == self.last:
            if kind == "fsync" and self.is_torn and os.path.isfile(path):
                os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(
    work: Callable[[], object],
    outputs: Path,
    *,
    operations: Operations,
    seconds: float | None = None,
) -> bool:
    """Start work, or go on with it, in a process of its own; say whether it got to its end."""
    outputs.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        said = os.open(outputs / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        code = 1
        try:
            operations.watch()
            work()
            (outputs / "operations.txt").write_text(str(operations.count))
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return False
    assert os.WEXITSTATUS(status) == 0, (outputs / "said.txt").read_text()[-3000:]
    return True


def names(outputs: Path) -> set[str]:
    """What a run has left; each attempt writes a csv/version_N of its own."""
    found = (path.relative_to(outputs) for path in outputs.rglob("*"))
    return {str(path) for path in found if "csv" not in path.parts and path.parts[0] != "said.txt"}


def differences(outputs: Path, whole: Path) -> list[str]:
    """In what the end of a run differs from that of one that was left alone."""
    one, other = (next(path.rglob("seed_0")) for path in (outputs, whole))
    looks: dict[str, Callable[[Path], Any]] = {
        "metrics.jsonl": rows_of,
        "scores": lambda folder: summary_of(folder)["metrics"],
        "phases": lambda f: [(p["phase"], p["fingerprint"]) for p in summary_of(f)["phases"]],
        "weights": lambda f: (f / "checkpoints" / "grpo" / "model.safetensors").read_bytes(),
        "captions": lambda folder: (folder / "predictions.jsonl").read_bytes(),
    }
    found = [name for name, look in looks.items() if look(one) != look(other)]
    strangers = names(outputs) ^ names(whole)
    return found + [f"file {name}" for name in sorted(strangers)]


def campaign(folder: Path, *overrides: str, kills: int, seed: int) -> Counter[str]:
    """Kill a run so many times; return how often which way, and how many came to their end.

    Raises:
        AssertionError: a run failed, or ended as one that was left alone does not.
    """
    model = build_qwen(folder / "model")
    return kill(
        folder,
        lambda outputs: start(model, outputs, *SIZES, *overrides),
        differences,
        kills,
        seed,
    )


def captions_campaign(folder: Path, *, kills: int, seed: int) -> Counter[str]:
    """The same for captions of an album of toys."""
    model = build_qwen(folder / "model")
    sizes = {"friends": 4, "per_friend": 1, "photos": 6, "strangers": (0, 1), "scale": 1.0}
    write_album(folder / "toys", **sizes, seed=0)
    words = [str(folder / "toys" / "album"), str(folder / "toys" / "photos"), "retrieval=toybox"]
    words += [f"model.path={model}", "sampling.max_new_tokens=4", "batch_size=1"]

    def work(outputs: Path) -> None:
        with initialize_config_module("repic.conf", version_base="1.3"):
            cfg = compose("caption", overrides=arguments([*words, f"outputs={outputs}"]))
        before = kept_rows(outputs)
        caption(cfg)
        after = kept_rows(outputs)
        assert all(after[key] == row for key, row in before.items())  # seconds, too: none anew

    return kill(folder, work, caption_differences, kills, seed)


def kept_rows(outputs: Path) -> dict[str, dict[str, Any]]:
    """Captions that are kept, by what decides them."""
    return {row["key"]: row for row in read_lines(outputs / "captions" / "album" / "kept.jsonl")}


def caption_differences(outputs: Path, whole: Path) -> list[str]:
    """In what captions differ from those of a command that was left alone."""

    def told(folder: Path) -> list[dict[str, Any]]:
        rows = json.loads((folder / "captions" / "album" / "captions.json").read_text())
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    page = Path("captions", "album", "captions.html")
    looks: dict[str, Callable[[Path], Any]] = {
        "captions": told,
        "table": lambda folder: len((folder / page).with_suffix(".csv").read_text().splitlines()),
        "page": lambda folder: (folder / page).read_bytes(),
    }
    found = [name for name, look in looks.items() if look(outputs) != look(whole)]
    return found + [f"file {name}" for name in sorted(names(outputs) ^ names(whole))]


def kill(
    folder: Path,
    work: Callable[[Path], object],
    differences: Callable[[Path, Path], list[str]],
    kills: int,
    seed: int,
) -> Counter[str]:
    """Kill work so many times, and hold its ends to that of work that was left alone.

    Args:
        folder: gets a folder for each.
        work: is given its folder, and goes on with what it finds there.
        differences: of two such folders.
        kills: how many.
        seed: decides when.
    """
    chance = random.Random(seed)
    whole = folder / "whole"
    begun = time.monotonic()
    assert attempt(lambda: work(whole), whole, operations=Operations(whole))
    seconds = time.monotonic() - begun
    operations = int((whole / "operations.txt").read_text())
    done: Counter[str] = Counter({"operations of each": operations})
    number = total = 0
    while total < kills:
        number += 1
        outputs = folder / f"run_{number}"
        most = min(total + chance.randint(1, 4), kills)  # kills by the end of this one
        while True:
            at_moment, is_over = total % 2 == 0, total == most
            wait = chance.uniform(0, seconds) if at_moment and not is_over else None
            last = None if at_moment or is_over else chance.randint(1, operations)
            watched = Operations(outputs, last=last, is_torn=chance.random() < 1 / 3)
            if attempt(partial(work, outputs), outputs, operations=watched, seconds=wait):
                break
            done["moment" if at_moment else "operation"] += 1
            total += 1
        done["ends"] += 1
        found = differences(outputs, whole)
        assert not found, f"{outputs} (seed {seed}): {found}"
        print(f"{dict(done)}: as if nothing had happened", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a run again and again.")
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="of the run")
    parser.add_argument("--captions", action="store_true", help="of captions of an album")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills_"))
    if options.captions:
        print(captions_campaign(folder, kills=options.kills, seed=options.seed))
    else:
        print(campaign(folder, *options.overrides, kills=options.kills, seed=options.seed))


if __name__ == "__main__":
    main()
