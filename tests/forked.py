"""Processes that are forked, not started: what a run imports is there already.

Most of what a small command computes is imports. A server that has done them, one for each process
of tests, forks a process for each command; in all else this is as a shell would have started it.
That the commands can be started so is what ``test_run`` and ``test_ranks`` show with some. Ranks
that share out what is no command are forked from the tests themselves: see ``fork_ranks``.
"""

import atexit
import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
END_WITH_PARENT = 1  # PR_SET_PDEATHSIG
ASKED_WHERE = signal.SIGQUIT  # it says where it is, and ends
TICKS = os.sysconf("SC_CLK_TCK")  # of a second of processor time
# In the server; none of repic's modules that are commands, which run as __main__.
IMPORTED = (
    "pytorch_lightning", "peft", "transformers.models.auto.modeling_auto", "repic.assembly",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "repic.page.run_page",
    "repic.phases.grpo_phase", "repic.phases.sft", "repic.phases.evaluate", "repic.phases.pipeline",
    "repic.models.engine.packed", "repic.metrics.suite", "repic.tables.layouts", "repic.toybox",
    "torch.distributed.elastic.agent.server.api",
)  # fmt: skip


@cache
def server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *IMPORTED])
    return context


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep what runs the tests from being imported in every process as well."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Command:
    """A command in a process of its own, and what it says.

    Args:
        arguments: what stands after ``python``: -m and a module, or a file.
        said: a folder for what it says.
        cwd: its working directory.
        environment: beside the tests' own.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        said: Path,
        *,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        said.mkdir(parents=True, exist_ok=True)
        self.files = (said / "stdout", said / "stderr")
        for file in self.files:
            file.write_text("")
        variables = {**os.environ, **(environment or {})}
        given = (list(arguments), str(cwd), variables, tuple(map(str, self.files)))
        self.process = server().Process(target=_run, args=given)
        with without_main():
            self.process.start()
        self.pid: int = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it has written to both streams."""
        self.process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("a forked command", timeout or 0)
        return self.stdout, self.stderr

    @property
    def stdout(self) -> str:
        return self.files[0].read_text()

    @property
    def stderr(self) -> str:
        return self.files[1].read_text()

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def kill(self) -> None:
        if self.poll() is None:
            self.process.kill()
            self.process.join()


def run(
    arguments: Sequence[str],
    said: Path,
    *,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Command:
    """Do a command to its end."""
    command = Command(arguments, said, cwd=cwd, environment=environment)
    command.communicate()
    return command


class Talking:
    """A command that is told line by line, and answers so; for ``subprocess.Popen`` with pipes.

    Args:
        arguments: a Python's command line.
        stderr: a file for what it complains of.
        env: all of its environment.
        others: of ``Popen``'s, which are so here anyway.
    """

    def __init__(
        self, arguments: Sequence[str], *, stderr: IO[str], env: Mapping[str, str], **others: Any
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        pipes = [os.path.join(self.folder.name, name) for name in ("stdin", "stdout")]
        for pipe in pipes:
            os.mkfifo(pipe)
        given = (list(arguments[1:]), str(ROOT), dict(env), (pipes[1], stderr.name), pipes[0])
        self.process = server().Process(target=_run, args=given)
        with without_main():
            self.process.start()
        # Each waits here until the other end is there, in the same order.
        self.stdin, self.stdout = open(pipes[0], "w"), open(pipes[1])  # noqa: SIM115

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked command", timeout or 0)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


class Ranks:
    """A command in several processes, as srun would start them: none minds the others.

    What they say is put together in their order. ``path`` has modules of their own.
    """

    def __init__(
        self, arguments: Sequence[str], said: Path, *, count: int, path: Path | None = None
    ) -> None:
        tasks = {"SLURM_STEP_NUM_TASKS": str(count), "SLURM_STEP_TASKS_PER_NODE": str(count)}
        tasks |= {} if path is None else {"PYTHONPATH": str(path)}
        tasks |= {"SLURM_STEP_NUM_NODES": "1", "SLURM_NODEID": "0", "MASTER_PORT": str(free_port())}
        self.ranks = [
            Command(
                arguments,
                said / str(rank),
                environment={**tasks, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            )
            for rank in range(count)
        ]

    def poll(self) -> int | None:
        """The first status that is none of success; 0 when all have ended well."""
        codes = [rank.poll() for rank in self.ranks]
        return next((code for code in codes if code), None if None in codes else 0)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        parts = [rank.communicate(timeout) for rank in self.ranks]
        return "".join(said for said, _ in parts), "".join(complaint for _, complaint in parts)

    def kill(self) -> None:
        for rank in self.ranks:
            rank.kill()


def fork_ranks(
    number: int, work: Callable[[int], object], said: Path, *, still: float = 30.0
) -> list[int]:
    """Let ranks do some work, as torchrun's do; return how each ended: a status, or minus a signal.

    Args:
        number: of ranks.
        work: is given the rank.
        said: the folder that gets a file of what each rank prints.
        still: seconds without half a second's work of all, after which they wait for one another
            in vain: they say where, and are ended. A slow machine is no reason.
    """
    said.mkdir(parents=True, exist_ok=True)
    port, processes = free_port(), []
    for rank in range(number):
        if (process := os.fork()) == 0:
            _be_rank(rank, number, port, work, said / f"rank_{rank}.txt")
        processes.append(process)
    ended: dict[int, int] = {}
    seen, since = (number, 0), time.monotonic()
    while len(ended) < number:
        # All are asked in turn: one that is dead and not waited for is alive to the others.
        for process in (each for each in processes if each not in ended):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                ended[process] = status
        left = [process for process in processes if process not in ended]
        now = len(left), int(2 * sum(map(_processor_s, left)))
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > still:
            for process in left:
                os.kill(process, ASKED_WHERE)
        time.sleep(0.05)
    return [os.waitstatus_to_exitcode(ended[process]) for process in processes]


def _processor_s(process: int) -> float:
    """Seconds that a child process has computed so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    """A port of this machine's that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _be_rank(
    rank: int, number: int, port: int, work: Callable[[int], object], said: Path
) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None).prctl(END_WITH_PARENT, signal.SIGKILL)
        _speak_into(said, said)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
        given |= {"GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "MASTER_PORT": port}
        given |= {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": 0}
        given |= {"TORCHELASTIC_MAX_RESTARTS": 0, "ROLE_RANK": rank, "ROLE_WORLD_SIZE": number}
        os.environ.update({key: str(value) for key, value in given.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        signal.signal(ASKED_WHERE, signal.SIG_DFL)  # a shell's background jobs ignore it
        faulthandler.register(ASKED_WHERE, sys.stderr, chain=True)
        atexit._clear()  # what the tests' own process has to do
        work(rank)
        atexit._run_exitfuncs()
        code = 0
    except BaseException:  # all that ends a process
        traceback.print_exc()
    finally:
        _end(code)


def _speak_into(*files: str | Path) -> None:
    """Let the standard streams go into files, from their ends on."""
    for number, path in enumerate(files, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)


def _end(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    os._exit(code)


def _run(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    streams: tuple[str, str],
    stdin: str | None = None,
) -> NoReturn:
    """Be the command; in the forked process."""
    os.setsid()
    if stdin is not None:
        os.dup2(os.open(stdin, os.O_RDONLY), 0)
        sys.stdin = os.fdopen(0, closefd=False)
    _speak_into(*streams)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = filter(None, sys.path)  # the server's working directory is not the command's
    sys.path += filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: Any = 0
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, cwd)
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).absolute().parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # pools of workers are told that it ends
    atexit._run_exitfuncs()
    _end(code or 0)
