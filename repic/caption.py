"""Caption your own photos with the names of your friends: ``python -m repic.caption album photos``.

An album is a folder with a folder of photos for each friend (``repic.data.album``). A line is
printed for every photo as soon as it has a caption; then ``captions.csv``, ``captions.json`` and
``captions.html`` are written. The same command goes on where it was interrupted, and captions anew
what has changed alone.
"""

import contextlib
import csv
import io
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import hydra
from annotated_types import Ge, Le, MinLen
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from repic import files
from repic.assembly import (
    MODEL_KEYS,
    MaybePart,
    MaybeText,
    Part,
    check_values,
    load_model,
    make,
    quieten,
)
from repic.progress import ProgressLine
from repic.run import guarded
from repic.values import Count, FolderName, Questions, Side, Text

log = logging.getLogger(__name__)

COLUMNS: tuple[str, ...] = ("photo", "caption", "names", "boxes", "introduced", "similarity")
COLUMNS += ("left_out", "seconds", "finished", "when")
CHECKED = "checked.txt"  # which settings were found to be sound, for whom they are as they were
ALBUM = "album.txt"  # whose captions they are
KINDS = ("place", "setting", "option")  # of a command line's words
# Hydra's options that have a word behind them.
WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd")
WITH_VALUE += ("--config-path", "-cp", "--config-name", "-cn")

MaybeFolderName = FolderName | None
MaybeSide = Side | None
# What the code here reads itself; all else is the argument of a part.
READ = {
    "album": Text,
    "photos": Annotated[Sequence[Text], MinLen(1)],
    "name": MaybeFolderName,
    "outputs": Text,
    "question": MaybeText,
    "clip_question": Text,
    "frames": Annotated[int, Ge(1), Le(256)],
    "most": Count,
    "batch_size": Count,
    "watch": Annotated[int | float, Ge(0), Le(86_400)],
    "page": bool,
    "sampling": Part,
    "retrieval": MaybePart,
    **MODEL_KEYS,
    "data.prompt": Part,
    "data.questions": Questions,
    "data.largest": MaybeSide,
}


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="caption")
def job(cfg: DictConfig) -> None:
    """Caption photos."""
    with checked(cfg, "name an album and photos: python -m repic.caption album photos"):
        caption(cfg)


@contextlib.contextmanager
def checked(cfg: DictConfig, usage: str) -> Iterator[None]:
    """Go to the command's folder, and check what it says.

    Whose settings are those of the last command that went well is not checked again, since that
    imports all that a model needs: where every photo has its caption, most of the time.

    Raises:
        ValueError: it lacks the album or photos, which ``usage`` says, or a value is wrong.
    """
    hydra_cfg = HydraConfig.get()
    os.chdir(hydra_cfg.runtime.cwd)
    if OmegaConf.is_missing(cfg, "album") or OmegaConf.is_missing(cfg, "photos"):
        raise ValueError(usage)
    overrides = list(hydra_cfg.overrides.task)
    key = files.key_of([OmegaConf.to_container(cfg), overrides])
    is_known = False
    with contextlib.suppress(OSError, OmegaConfBaseException, TypeError, ValueError):
        is_known = (captions_folder(cfg) / CHECKED).read_text() == key
    if not is_known:
        quieten()  # what is imported now would tell about itself
        check_values(cfg, overrides, read=READ)
    refuse_outputs_in_album(cfg)
    yield
    files.write_text(captions_folder(cfg) / CHECKED, key)


def caption(cfg: DictConfig) -> Path:
    """Caption the photos that are asked for, and return the folder of the captions.

    Raises:
        ValueError: there is no such album or photo, or no photo could be captioned.
    """
    from repic.captioners.photos import LIST, PAGE, TABLE, Captioned, PassedOver
    from repic.data.album import read_album

    album = read_album(Path(cfg.album), largest=cfg.data.largest)
    folder, found = captions_folder(cfg), photos_of(cfg)
    ends: dict[Path, Captioned | PassedOver] = {}
    seen: dict[Path, object] = {}
    with files.only_one(folder / ".lock", wanted=True):
        captioner = photo_captioner(cfg, album, folder)
        log.info("%d friends, %d photos", len(album.friends), len(found))
        while True:
            if found:
                seen |= {path: files.stamp(path) for path in found}
                caption_all(captioner, found, ends, cfg)
            if not cfg.watch:
                break
            time.sleep(cfg.watch)
            # A file may not have been whole when it was looked at.
            found = [path for path in photos_of(cfg) if seen.get(path) != files.stamp(path)]
    results = [end for end in ends.values() if isinstance(end, Captioned)]
    passed = [end for end in ends.values() if isinstance(end, PassedOver)]
    for problem in passed:
        print(f"passed over: {problem.photo}: {problem.problem}")
    if not results:
        raise ValueError(f"none of {len(found)} photos could be captioned; see above")
    kinds = (TABLE, LIST, *([PAGE] if cfg.page else []))
    print(f"{len(results)} captions: {', '.join(kinds)} in {folder}")
    return folder


def caption_all(
    captioner: Any, photos: Sequence[Path], ends: dict[Path, Any], cfg: DictConfig
) -> None:
    """Caption photos, tell each, and write all that have a caption, also where it is interrupted.

    Args:
        captioner: see ``repic.captioners.photos``.
        photos: those that are new.
        ends: what has become of each photo so far; is added to.
        cfg: the configuration.
    """
    from repic.captioners.photos import Captioned

    progress = ProgressLine("photos", len(photos), {})
    progress.start(0)
    try:
        for number, result in enumerate(captioner.caption(photos), start=1):
            tell(result)
            ends[Path(result.photo)] = result
            progress.update({}, number)
    finally:
        progress.stop()
        results = [ends[path] for path in sorted(ends) if isinstance(ends[path], Captioned)]
        if results:
            write(captioner.folder, captioner.album, results, cfg)


def photos_of(cfg: DictConfig) -> list[Path]:
    """List the photos and films that a command names, or that are in folders that it names.

    Raises:
        ValueError: there are none, and none are waited for.
    """
    from repic.data.album import pictures_in
    from repic.data.clips import FILMS
    from repic.data.images import PICTURES

    found = list(pictures_in(map(Path, cfg.photos), kinds=PICTURES | FILMS))
    if not found and not cfg.watch:
        raise ValueError(f"{', '.join(cfg.photos)}: holds no photos; put some there")
    return found


def captions_folder(cfg: DictConfig) -> Path:
    """Where an album's captions are kept."""
    return (
        Path(cfg.outputs) / "captions" / (cfg.name or os.path.basename(os.path.abspath(cfg.album)))
    )


def refuse_outputs_in_album(cfg: DictConfig) -> None:
    """Raise where the captions' folder would be taken for a friend by the next command."""
    folder, album = captions_folder(cfg).resolve(), Path(cfg.album).resolve()
    if folder.is_relative_to(album):
        inside = folder.relative_to(album).parts
        if not inside or not inside[0].startswith("."):
            raise ValueError(
                f"outputs: {folder} lies in the album, where each folder is a friend; take another,"
                f" as in outputs={album.parent / 'outputs'}"
            )


def claim(folder: Path, album: Path) -> None:
    """Make a folder of captions an album's, so that no other of its name writes over them.

    Raises:
        ValueError: it is another's.
    """
    place, own = folder / ALBUM, str(album.resolve())
    if not place.exists():
        files.write_text(place, own)
    elif (other := place.read_text("utf-8")) != own:
        raise ValueError(
            f"name: {folder} has the captions of {other}; take another, as in"
            f" name={album.resolve().name}_2, or delete {place} if it is this album that has moved"
        )


def question_of(cfg: DictConfig, album: Any, *, film: bool = False) -> str:
    """What is asked about every photo, or film, with names as the album has them."""
    from repic.data.album import in_brackets

    usual = [cfg.clip_question] if film else [*album.questions, *cfg.data.questions]
    question = cfg.question or usual[0]
    return in_brackets(question, album.lexicon())


def photo_captioner(cfg: DictConfig, album: Any, folder: Path, **parts: Any) -> Any:
    """Make what captions; the model is loaded when a caption is wanted that is not kept.

    Args:
        cfg: the configuration.
        album: the friends.
        folder: of the captions.
        parts: of ``PhotoCaptioner``, where they are there already.

    Raises:
        ValueError: the folder has another album's captions.
    """
    from repic.captioners.photos import PhotoCaptioner
    from repic.models.directory import fingerprint

    claim(folder, Path(cfg.album))
    prompt, path = album.prompt or make(cfg.data.prompt), str(cfg.model.path)
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    decides = {name: values[name] for name in ("model", "engine", "sampling", "retrieval")}
    decides["model"] = {k: v for k, v in values["model"].items() if k not in ("path", "prompt")}
    made = {
        "captioner": lambda: model_captioner(cfg, path, prompt),
        "retriever": (lambda: make_retriever(cfg)) if cfg.retrieval else None,
    }
    return PhotoCaptioner(
        album=album,
        key=files.key_of([fingerprint(path), decides]),
        prompt=prompt,
        question=question_of(cfg, album),
        clip_question=question_of(cfg, album, film=True),
        frames=cfg.frames,
        most=cfg.most,
        largest=cfg.data.largest,
        folder=folder,
        portion=cfg.batch_size,
        **(made | parts),
    )


def make_retriever(cfg: DictConfig) -> Any:
    """Load what finds whom the prompt introduces."""
    quieten()
    return make(cfg.retrieval)


def model_captioner(cfg: DictConfig, path: str, prompt: Any) -> Any:
    """Load nothing yet, but all that loads."""
    import torch

    from repic.captioners.captioner import Labels
    from repic.captioners.model import ModelCaptioner
    from repic.models.generation import describe, left_out

    quieten()
    check_values(cfg, (), read=READ)  # see ``checked``
    torch.set_num_threads(cfg.trainer.threads)
    sampling = make(cfg.sampling)
    log.info("%s captions: %s", path, describe(sampling, left_out(path, sampling)))
    return ModelCaptioner(
        Labels("model", "model", is_shared=False, has_model=True),
        key="",  # PhotoCaptioner's
        decoding=None,
        load=partial(load_model, cfg, path, prompt),
        engine=make(cfg.engine),
        sampling=sampling,
        batch_size=cfg.batch_size,
    )


def tell(result: Any) -> bool:
    """Say a photo's caption, or that it has none; whether it has one."""
    said = getattr(result, "caption", None)
    print(f"{result.photo}: {said if said is not None else f'passed over: {result.problem}'}")
    return said is not None


def write(folder: Path, album: Any, results: Sequence[Any], cfg: DictConfig) -> None:
    """Write what has a caption as a table, for programs, and as a page."""
    from repic.captioners.photos import LIST, PAGE, TABLE

    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for result in results:
        values = [value for value in result.introduced.values() if value is not None]
        row = {key: value for key, value in asdict(result).items() if key in COLUMNS}
        listed = (result.names, result.introduced, result.left_out)
        row |= dict(zip(("names", "introduced", "left_out"), map("; ".join, listed), strict=True))
        boxes = [" ".join(map(str, result.boxes.get(name, ()))) for name in result.names]
        row["boxes"] = "; ".join(boxes) if result.boxes else ""
        there = (f"{name}: {' '.join(map('{:g}'.format, t))}" for name, t in result.when.items())
        row["when"] = "; ".join(there)
        rows.writerow(row | {"similarity": "; ".join(map(str, values))})
    table, page = folder / TABLE, folder / PAGE
    # As bytes: somebody's spreadsheet may have saved it in another encoding.
    is_new = not table.exists() or table.read_bytes() != text.getvalue().encode()
    files.write_json(folder / LIST, [asdict(result) for result in results])
    if is_new and not cfg.page:
        page.unlink(missing_ok=True)  # it shows what was in the table before
    if cfg.page and (is_new or not page.exists()):
        from repic.page.photos_page import write_photos_page

        write_photos_page(page, album, results)
    files.write_text(table, text.getvalue())  # last: it says what the page shows


def arguments(words: Sequence[str]) -> list[str]:
    """The command line as Hydra reads it: the first word is the album, the others are photos.

    Options come last: Hydra takes no setting behind one where there was another before it.

    Example:
        >>> arguments(["album", "a b.jpg", "x", "--watch", "--cfg", "job"])
        ["album='album'", "photos=['a b.jpg','x']", 'watch=5', '--cfg', 'job']
    """
    words = ["watch=5" if word == "--watch" else word for word in words]
    kinds = list(zip(words, kinds_of(words), strict=True))
    taken, settings, options = ([w for w, k in kinds if k == kind] for kind in KINDS)
    if taken[1:]:
        settings.insert(0, f"photos=[{','.join(map(quoted, taken[1:]))}]")
    if taken:
        settings.insert(0, f"album={quoted(taken[0])}")
    return settings + options


def kinds_of(words: Sequence[str]) -> list[str]:
    """What each word of a command line is: a place, a setting, or an option or its value.

    Example:
        >>> kinds_of(["--cfg", "job", "album", "seed=1"])
        ['option', 'option', 'place', 'setting']
    """
    # What exists is a place, whatever it is called. (os.path: a setting may be too long a name.)
    return [
        "option"
        if word.startswith("-") or previous in WITH_VALUE
        else "setting"
        if "=" in word and not os.path.exists(word)
        else "place"
        for previous, word in pairwise(["", *words])
    ]


def quoted(word: str) -> str:
    """A text as Hydra reads it back: backslashes count there only in front of a quotation mark."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\'", re.sub(r"(\\+)$", r"\1\1", word)) + "'"


def main() -> None:
    """Run from the command line."""
    sys.argv[1:] = arguments(sys.argv[1:])
    again = "the same command goes on from there"
    guarded(job, "repic.caption", config="caption", kept="what was captioned is kept", after=again)


if __name__ == "__main__":
    main()
