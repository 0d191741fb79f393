"""Compose a run from conf/, have its parts made, run its phases, write its summary.

Imports of torch and of everything that needs it wait until there is something to run, so that
--help answers at once.
"""

import contextlib
import io
import itertools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from repic import ranks, settings, signals, sweep
from repic.assembly import (
    SPLITS,
    assemble,
    check_values,
    checked,
    dataset_maker,
    given_keys,
    make,
    refuse_unread_files,
)
from repic.errors import explain, is_told, tell
from repic.values import leaves, nearest, shown, with_given_keys

if TYPE_CHECKING:
    from repic.phases.pipeline import RunParts

log = logging.getLogger(__name__)

STUDY = "study"  # the group of conf/study/, whose options say what a multirun tries
TOLD = (HydraException, OmegaConfBaseException, YAMLError)  # of libraries, about what was given
SEVERAL = ("captioner", "phase", "length", "experiment")  # groups of which a command may take more
APPENDED = ("experiment", STUDY)  # groups that a command adds with a plus

OmegaConf.register_new_resolver("repic.slug", settings.slug, replace=True)
OmegaConf.register_new_resolver("repic.checked", checked, replace=True)
for part in (settings.cores, settings.gpus, settings.jobs_at_once):
    OmegaConf.register_new_resolver(f"repic.{part.__name__}", part, replace=True)


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="config")
def job(cfg: DictConfig) -> str | float:
    """Run one job.

    Returns:
        The run's folder; or with ``optimize`` the number of the run that it names, for a sweeper
        that searches. ``cfg.folder`` has the folder either way, for who waits for the job's end.
    """
    hydra_cfg = HydraConfig.get()
    os.chdir(hydra_cfg.runtime.cwd)  # paths are those of the command, also with hydra.job.chdir
    # Which study asks for a run changes nothing about it: several studies share their runs.
    overrides = [o for o in hydra_cfg.overrides.task if settings.split_override(o)[0] != STUDY]
    choices = {
        group: option
        for group, option in hydra_cfg.runtime.choices.items()
        if not group.startswith("hydra") and group != STUDY
    }
    output_dir = Path(hydra_cfg.runtime.output_dir)
    try:
        ranks.take_from_slurm()  # of a job that a launcher has queued
        refuse_several(overrides)
        refuse_unknown_keys(cfg, choices, overrides)
        apply_debug(cfg, overrides)
        folder = run(cfg, output_dir, choices=choices, overrides=overrides)
        has_tables = settings.phase_without_model(cfg.method.phases) is None
        if has_tables and hydra_cfg.mode == RunMode.RUN and ranks.rank() == 0:
            show_tables(folder)  # a multirun has one table at its end
        with open_dict(cfg):
            cfg.folder = str(folder)
        if cfg.optimize is not None and has_tables:
            return number_of(folder, cfg.optimize)
        return str(folder)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
        raise ValueError(
            "code that is not repic's has ended the run by sys.exit before it was finished"
        ) from end
    except Exception as error:
        if cfg.debug.traceback is True:
            log.exception("where it was noticed")
        told, raw = explain(error), OmegaConf.to_container(cfg)
        assert isinstance(raw, dict)
        named = with_given_keys(told, raw, given_keys(cfg, overrides))
        if hydra_cfg.mode == RunMode.MULTIRUN:  # goes on with the next, and tells the first's end
            log.error("%s failed: %s", " ".join(overrides) or "this job", named)
        if named != told and is_told(error, *TOLD):
            raise ValueError(named) from error
        raise


def run(
    cfg: DictConfig, output_dir: Path, *, choices: dict[str, Any], overrides: list[str]
) -> Path:
    """Do what a composed configuration says.

    Args:
        cfg: the configuration.
        output_dir: the command's folder; with ``fresh`` the run gets a numbered one beside it.
        choices: the option that was chosen in each group.
        overrides: the command line's.

    Returns:
        The run's folder.
    """
    from repic import distributed

    debugging = [key for key, _ in leaves(OmegaConf.to_container(cfg.debug.overrides))]
    resolved = check_values(cfg, [*overrides, *filter(None, debugging)])
    distributed.start(cfg.trainer.options.accelerator)
    with distributed.together():
        return run_together(cfg, resolved, output_dir, choices=choices, overrides=overrides)


def run_together(
    cfg: DictConfig,
    resolved: dict[Any, Any],
    output_dir: Path,
    *,
    choices: dict[str, Any],
    overrides: list[str],
) -> Path:
    """Do it with the other ranks, if there are any; see ``run``."""
    from repic import distributed, files
    from repic.phases import summary

    folder = settings.run_folder(output_dir, fresh=cfg.fresh)
    if cfg.fresh and OmegaConf.select(cfg, "judge.cache") is not None:
        # What a judge has answered is a result as well; the settings stay those of the command.
        OmegaConf.update(cfg, "judge.cache", str(folder / "cache" / "judge.sqlite"))
    is_main = distributed.rank() == 0
    if not is_main:
        logging.getLogger().setLevel(logging.WARNING)  # rank 0 tells what all do
    if is_done(folder, resolved):
        return folder
    # What has begun goes on. (Where rank 0 was faster than this one and has begun, there was none.)
    is_begun = (folder / settings.FILE).exists()
    if not (cfg.fresh or is_begun) and (same := settings.same_run(output_dir, resolved, choices)):
        log.info("already done, by a command that comes to the same: %s", same)
        with contextlib.suppress(OSError):  # the empty folder that Hydra has made for this one
            output_dir.rmdir()
            output_dir.parent.rmdir()
        return same
    with files.only_one(folder / ".lock", wanted=is_main):
        # Who had to wait for another process finds what that one has done, or has begun.
        if distributed.from_main(is_main and is_done(folder, resolved)):
            return folder
        if is_main:
            begin(cfg, folder, resolved)
        alone = settings.phase_without_model(cfg.method.phases)
        if alone is not None:
            if is_main:
                run_command(alone, cfg, folder)
            return folder
        commit = summary.git_commit(Path(__file__).parent)
        record = {"name": str(cfg.name), "seed": cfg.seed, "git_commit": commit}
        record |= {"overrides": overrides, "choices": choices}
        run_phases(cfg, folder, resolved, record=record)
    return folder


def is_done(folder: Path, resolved: dict[Any, Any]) -> bool:
    """Whether a folder has the finished run; raises if it has one of other settings or files."""
    settings.refuse_other_settings(folder, resolved)
    if not all((folder / name).exists() for name in (settings.PAGE, settings.SUMMARY)):
        return False
    if changed := settings.changed_inputs(folder, resolved):
        raise ValueError(
            f"{folder}: is done, but the files of {changed[0]} have changed since; add fresh=true"
            " to start anew, or give the run another name="
        )
    log.info("already done: %s", folder)
    return True


def begin(cfg: DictConfig, folder: Path, resolved: dict[Any, Any]) -> None:
    """Write down what a run is, before it does anything."""
    from repic import files
    from repic.phases import summary

    keep_log(folder / "run.log")
    files.write_text(folder / settings.FILE, OmegaConf.to_yaml(OmegaConf.create(resolved)))
    files.write_json(folder / "environment.json", summary.environment(sys.argv))


def run_phases(
    cfg: DictConfig, folder: Path, resolved: dict[Any, Any], *, record: dict[str, Any]
) -> None:
    """Train and evaluate as far as that is not done, and write the page.

    Args:
        cfg: the configuration.
        folder: of the run.
        resolved: the configuration as plain values.
        record: what the summary says of the run beside its results.
    """
    from repic import distributed, files
    from repic.phases import loggers, pipeline
    from repic.tables.runs import scores_by_key

    is_main = distributed.rank() == 0
    is_summed_up = distributed.from_main(is_main and settings.is_summed_up(folder, resolved))
    if is_main and not is_summed_up:
        # A summary that a kill has left before its page, of files that have changed since.
        (folder / settings.SUMMARY).unlink(missing_ok=True)
        files.write_json(folder / settings.INPUTS, settings.inputs_of(resolved))
    parts = assemble(cfg, folder, resolved)
    refuse_unknown_number(cfg.optimize, parts)
    context, is_finished = parts.context, False
    try:
        for logger in context.loggers:
            loggers.log_settings(logger, resolved)
        if not is_summed_up:
            pipeline.run_method(parts, record)
        if is_main:
            scores = scores_by_key(files.read_json(folder / settings.SUMMARY)["metrics"])
            for logger in context.loggers:
                loggers.log_scores(logger, scores)
            pipeline.show(context, parts.evaluation, **cfg.report)  # whose page ends the run
            log.info("finished: %s", folder)
        is_finished = True
    finally:
        for logger in context.loggers:
            loggers.close(logger, is_finished=is_finished)


def run_command(name: str, cfg: DictConfig, folder: Path) -> None:
    """Do what needs no model, print its tables, and keep them in the run's folder.

    Raises:
        ValueError: files of the data are missing or corrupt.
    """
    from repic.tables import data_table, preferences_table, rescoring_table
    from repic.tables.write import print_tables, write_tables

    phase = make(cfg.phase[name])
    if name == "write_album":
        print(phase(open_data(cfg.data, size=None)[0], folder))
        return
    complaint, forms = None, (".md", ".csv", ".json")
    if name == "rescore":
        stem, tables = "rescored", rescoring_table.rescoring_tables(phase())
    elif name == "compare":
        stem, tables = "compared", [preferences_table.preferences_table(phase())]
    else:
        check = phase(*open_data(cfg.data))
        stem, tables, forms = "check", [data_table.data_table(check)], (".md", ".json")
        complaint = check.complaint()
    first, *others = write_tables(folder, stem, *tables, forms=forms)
    print_tables(*tables)
    print(f"written to {first} and {', '.join(path.suffix for path in others)}")
    if complaint is not None:
        raise ValueError(f"data: {complaint}; {first} lists them")


def open_data(data: DictConfig, size: int | None = 1) -> tuple[Callable[[str], Any], list[str]]:
    """What opens a split with all its files, whatever the counts and the size; and the splits."""
    dataset = dataset_maker(data)

    def open_split(split: str) -> Any:
        asked = {"counts": [1, 2, 3, 4, 5], "size": size, "seed": 0}
        asked |= {"missing": "skip"} if size else {}
        try:
            return dataset(split=split, **asked)
        except HydraException as error:
            raise ValueError(explain(error)) from error

    return open_split, [split for split in SPLITS if data.get(split) is not None]


def number_of(folder: Path, key: str) -> float:
    """A finished run's number.

    Args:
        folder: of the run.
        key: of ``metrics.jsonl``, whose last value is meant; or phase, number of concepts (or
            "all") and metric of an evaluation: ``sft/3/accuracy``. As phase, ``test`` is the last.
    """
    from repic.tables.runs import read_metrics, read_run, scores_by_key

    metrics = read_run(folder).metrics
    found: dict[str, Any] = {k: v for row in read_metrics(folder) for k, v in row.values.items()}
    found |= scores_by_key(metrics)
    if not isinstance(found.get(key), float):
        hint = nearest(key, found) or "; see the run's metrics.jsonl"
        raise ValueError(f"optimize: {folder} has no number {key}{hint}")
    return found[key]


def refuse_unknown_number(key: str | None, parts: "RunParts") -> None:
    """Complain at the start of a number that there will not be at the end; see ``number_of``.

    Scores are known by then. What else ``metrics.jsonl`` will hold is not.
    """
    found = re.fullmatch(r"([^/]+)/(\d+|all)/([^/]+)", key or "")
    if found is None:
        return
    metrics = parts.evaluation.metrics
    places = ["test", *parts.evaluated]
    if any(getattr(phase, "val_every", 0) for phase in parts.phases.values()):
        places.append("val")
    known = (
        places,
        [*map(str, metrics.counts), "all"],
        [column.name for column in metrics.columns],
    )
    for part, options in zip(found.groups(), known, strict=True):
        if part not in options:
            wrong = f"{part!r} is not one of {', '.join(options)}{nearest(part, options)}"
            mend = "; phase.<name>.val_every asks for validations" if part == "val" else ""
            raise ValueError(f"optimize: {key}: {wrong}{mend}")


def show_tables(folder: Path) -> None:
    """Show a finished run's first table, and say where its page is, with all else."""
    from repic.page.run_page import run_tables
    from repic.tables.runs import read_run
    from repic.tables.write import print_tables

    first, *others = run_tables(read_run(folder)) or [None]
    if first is not None:
        print_tables(first)
    more = f", and {len(others)} more tables" if others else ""
    print(f"scenes, captions and curves{more}: {folder / 'report.html'}")


def apply_debug(cfg: DictConfig, overrides: list[str]) -> None:
    """Put ``debug.overrides`` over everything but what the command line says explicitly."""
    if not isinstance(cfg.debug.overrides, DictConfig):  # all else is checked after they are in
        raise ValueError(f"debug.overrides: {shown(cfg.debug.overrides)} is not a mapping")
    explicit = {settings.split_override(override)[0] for override in overrides}
    with open_dict(cfg):
        for key, value in cfg.debug.overrides.items():
            group, name, *_ = [*str(key).split("."), ""]
            # A phase of the package that this command does without.
            is_known = group == "phase" and name in options_of(group)
            is_left_out = is_known and name not in cfg.phase
            if key not in explicit and not is_left_out:
                OmegaConf.update(cfg, str(key), value)


def refuse_several(overrides: list[str]) -> None:
    """Complain of two options where one is meant: Hydra merges them, and the last one wins."""
    for group, told in map(settings.split_override, overrides):
        if re.match(r"\[.*,", told) and options_of(group) and group not in SEVERAL:
            each = f"to try each of them: -m {group}={told[1:-1]}"
            raise ValueError(f"{group}={told}: takes one option; {each}")


def refuse_unknown_keys(cfg: DictConfig, choices: dict[str, Any], overrides: list[str]) -> None:
    """Complain of a key that nothing reads, set by a file of one's own or with a plus.

    Hydra refuses such a key on the command line, but merges it from a file without a word, and
    takes +studdy=kl for a new key.
    """
    added = [o for o in overrides if o.startswith("+")]
    sources = HydraConfig.get().runtime.config_sources
    has_own = any(source.provider == "command-line" for source in sources)  # --config-dir
    if not added and not has_own and "experiment" not in choices:
        return
    groups = [
        f"{group}={settings.as_override(choice)}"
        for group, choice in choices.items()
        if group != "experiment"
    ]
    known = hydra.compose("config", overrides=groups)
    settings.refuse_stray_additions(added, [*map(str, known), *APPENDED])
    if "experiment" in choices:
        settings.refuse_unknown_keys(
            f"experiment/{choices['experiment']}.yaml",
            OmegaConf.to_container(cfg),
            OmegaConf.to_container(known),
            [k for k, _ in map(settings.split_override, added) if k not in APPENDED],
        )
    if has_own:
        refuse_unread_files(known)


def keep_log(path: Path) -> None:
    """Write the log into the run's folder as well."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)  # of the sweep's job before this one
        handler.close()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    root.addHandler(handler)


def with_likely_key(told: str, config: str) -> str:
    """Add to a complaint of Hydra's about a key that is not there which one may be meant."""
    if told.startswith("Config group override must be"):
        return _option_that_is_none() or told
    found = re.match(r"(\S+) is neither a key nor a group", told)
    if found is None:
        return told
    groups = [a for a in sys.argv[1:] if re.match(r"[\w/]+=", a)]
    known: Any = {}
    for overrides in (groups, []):
        with (
            contextlib.suppress(Exception),  # another mistake, which is told in its turn
            hydra.initialize_config_module("repic.conf", version_base="1.3"),
        ):
            known = OmegaConf.to_container(hydra.compose(config, overrides=overrides))
            break
    near = nearest(found[1], [key for key, _ in leaves(known)])
    return f"{found[0]}{near}" if near else told


def options_of(group: str) -> list[str]:
    """What can be chosen of a group of the package's; nothing of what is none."""
    folder = Path(__file__).parent / "conf" / group
    return sorted(path.stem for path in folder.glob("*.yaml")) if group else []


def _option_that_is_none() -> str | None:
    """Name the group that was given a number, say, of which Hydra does not say which it is."""
    for key, value in map(settings.split_override, sys.argv[1:]):
        options = options_of(key)
        names = value.removeprefix("[").removesuffix("]").split(",")
        numbers = ("null", "true", "false", "nan", "inf")  # to Hydra these are no text, either
        if options and any(n in numbers or not re.fullmatch(r"[^\W\d][\w/-]*", n) for n in names):
            return f"{key}: {value} is not one of {', '.join(options)}{nearest(value, options)}"
    return None


def _file_that_is_none() -> str | None:
    """Name the file of one's own that cannot be read at all."""
    words = sys.argv[1:]
    for folder in (b for a, b in itertools.pairwise(words) if a in ("--config-dir", "-cd")):
        for group, option in map(settings.split_override, words):
            path = Path(folder) / group / f"{option}.yaml"
            try:
                if path.is_file():
                    settings.read_yaml(path)
            except ValueError as error:
                return str(error)
    return None


@contextlib.contextmanager
def jobs_fail_quietly() -> Iterator[None]:
    """Keep Hydra's own line about a job that failed off the terminal: its error says more."""
    value: Any = vars(JobReturn)["return_value"]

    def quietly(done: JobReturn) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):
            return value.fget(done)

    setattr(JobReturn, "return_value", property(quietly, value.fset))  # noqa: B010
    try:
        yield
    finally:
        setattr(JobReturn, "return_value", value)  # noqa: B010


def guarded(job: Any, name: str, *, config: str, kept: str, after: str) -> None:
    """Run a Hydra job, and say in one line what is wrong with the input if something is.

    Args:
        job: what ``hydra.main`` made.
        name: of the program.
        config: of what it composes.
        kept: what an interruption leaves, unless it says so itself.
        after: what can be done then.
    """
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors come here instead of printing them there
    try:
        with signals.heeded(), contextlib.nullcontext() if wants_traceback else jobs_fail_quietly():
            job()  # Hydra passes the configuration
    except Exception as error:
        if wants_traceback:
            raise

        def told(error: BaseException) -> str:
            said = with_likely_key(explain(error), config)
            given = dict(map(settings.split_override, sys.argv[1:])).get("outputs")
            is_there = given and said.startswith(str(Path(given).absolute()))
            mend = "choose another folder with outputs=<folder>"
            return f"{said}; {mend}" if is_there and "outputs=" not in said else said

        wrong = None if is_told(error) else _option_that_is_none()
        if wrong := wrong or (None if is_told(error, *TOLD) else _file_that_is_none()):
            error = ValueError(wrong)
        program = "repic.run" if name == "repic" else name
        if ranks.rank() > 0 and is_told(error, *TOLD):
            # All ranks meet it before they join, and rank 0 tells; torchrun then ends this one.
            time.sleep(20)
            sys.exit(1)
        sys.exit(tell(name, error, *TOLD, told=told, program=program))
    except signals.Stopped as stop:
        if ranks.rank() == 0:  # once, however many ranks there are
            print(f"{name}: {stop.why}; {stop.saved or kept}; {after}", file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:  # Ctrl-C is Stopped; this one somebody's code has raised
        print(f"{name}: interrupted from within; {kept}; {after}", file=sys.stderr)
        sys.exit(signals.INTERRUPTED)
    finally:
        if not wants_traceback:
            del os.environ["HYDRA_FULL_ERROR"]


def main() -> None:
    """Run from the command line."""
    # Where somebody's own rewards lie; python -m looks here, the console script does not.
    sys.path.append(os.getcwd())
    keys = [settings.split_override(argument)[0] for argument in sys.argv]
    if STUDY in keys:  # it is a multirun, whether -m is there or not
        sys.argv.insert(keys.index(STUDY), "hydra.mode=MULTIRUN")
    again = "the same command goes on from there"

    def begin() -> None:
        ranks.take_from_slurm()
        with sweep.ended_with_tables():
            job()

    guarded(begin, "repic", config="config", kept="what was finished is saved", after=again)


if __name__ == "__main__":
    main()
