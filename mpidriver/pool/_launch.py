"""Starting: is there a launcher, and which part has this rank?"""

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mpidriver.errors import LaunchError, PoolStopped
from mpidriver.pool._isolated._isolation import Isolation
from mpidriver.pool._pool import Pool
from mpidriver.pool._rank._engine import Engine
from mpidriver.pool._signals import EXIT_STOPPED, heeding_signals, read_walltime
from mpidriver.pool._transport._idle import sharpen_sleep
from mpidriver.pool._transport._serial import SerialWire

if TYPE_CHECKING:
    from mpidriver.pool._transport._wire import MpiWire

__all__ = ["Launcher", "find_launcher", "launch", "leave_code", "who_works"]

SWITCH_SECONDS = 5e-4
"""How long a thread that computes keeps the interpreter from the one that drives messages."""
PATIENCE_SECONDS = 5.0
"""How long running tasks may take to end after the main program has failed."""
ROOT_WORKS_UP_TO = 8
"""Up to so many ranks the root runs tasks too, however short; in a larger world it has to hand them out."""


class Launcher(NamedTuple):
    """What has started this process as a rank."""

    name: str
    ranks: int | None
    """How many ranks it started, None if it does not say."""


def find_launcher(environment: Mapping[str, str]) -> Launcher | None:
    """Return the MPI launcher that has started this process, None if there was none. Does not load MPI."""
    for name, variable in (
        ("mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE"),
        ("mpiexec of MPICH", "PMI_SIZE"),
        ("mpiexec of MPICH", "MPI_LOCALNRANKS"),
        ("srun", "SLURM_STEP_NUM_TASKS"),
    ):
        if environment.get(variable, "").isdigit():
            known = variable != "MPI_LOCALNRANKS"  # which counts the ranks of this node only
            if name == "srun" and "SLURM_PROCID" not in environment:
                continue
            return Launcher(name, int(environment[variable]) if known else None)
    if "PMIX_RANK" in environment or "PMI_RANK" in environment:
        return Launcher("a PMI launcher", None)
    return None


def launch(
    main: Callable[..., Any],
    /,
    *args: Any,
    ranks: int | None = None,
    root_works: bool | None = None,
    preload: Sequence[str] = (),
    walltime: float | str | None = None,
    drains_on_ctrl_c: bool | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> Any:
    """Run a main program on a pool of all ranks.

    Under ``mpirun`` or ``srun`` every rank calls this; rank 0 then runs ``main(pool, *args)`` and the others work
    for it. Without a launcher the pool has one rank, in this process, and MPI is not even imported.

    Parameters
    ----------
    main
        The main program; its first argument is the pool.
    args
        Further arguments.
    ranks
        How many ranks to use, None for all that were started. The others return at once.
    root_works
        Whether rank 0 runs tasks too while its main program waits; None means in a world of at most eight ranks, and
        in a larger one if they are long: at least 0.05 s a rank.
    preload
        Modules that are imported for isolated tasks before the first of them, in the background.
    walltime
        Time after which the batch system will end the job, in seconds or as Slurm's ``--time`` ("1:30:00"). The pool
        stops so long before that what runs can still end: as long as the longest item took, at least a minute, at
        most half of the time.
    drains_on_ctrl_c
        Whether Ctrl-C too stops the pool in good order, instead of raising KeyboardInterrupt in whatever runs; None
        means on several ranks.
    trace
        File to write what each rank ran when, for ui.perfetto.dev or chrome://tracing; None for none.

    Returns
    -------
    value
        What `main` returns on rank 0, None on the others.

    Raises
    ------
    SystemExit
        With code 75 if SIGUSR1, SIGTERM, Ctrl-C or the walltime stopped the pool, and the main program let
        `PoolStopped` pass. A second SIGTERM or Ctrl-C ends all ranks at once.
    LaunchError
        If fewer ranks were started than asked for, or they do not see each other.
    """
    if ranks is not None and ranks < 1:
        raise LaunchError(f"launch(ranks={ranks}): at least 1 rank is needed")
    heeding = functools.partial(
        heeding_signals,
        walltime_seconds=None if walltime is None else read_walltime(walltime),
        drains_on_ctrl_c=drains_on_ctrl_c,
    )
    launcher = find_launcher(os.environ)
    _check_promise(os.environ, launcher)
    with contextlib.closing(Isolation(preload)) as isolation:
        if launcher is None or launcher.ranks == 1:
            _check_alone(ranks)
            if preload:
                isolation.prepare()
            engine = Engine(SerialWire(), isolation=isolation, trace=trace)
            with heeding(engine):
                return _run_main(engine, main, args)
        isolation.prepare()
        from mpidriver.pool._transport._joining import connect

        wire = connect(launcher.ranks, ranks)
        if wire is None:
            return None
        engine = _engine_on(wire, root_works, isolation, trace)
        with heeding(engine):
            return _run_rank(wire, engine, main, args)


def _check_alone(ranks: int | None) -> None:
    """Refuse to go on alone where several ranks were asked for."""
    if ranks is not None and ranks > 1:
        script = sys.argv[0] or "script.py"
        raise LaunchError(f"launch(ranks={ranks}): one rank was started; `mpirun -n {ranks} python {script}` would")


def _engine_on(
    wire: "MpiWire", root_works: bool | None, isolation: Isolation, trace: str | os.PathLike[str] | None
) -> Engine:
    if root_works is None and not wire.allows_threads:  # nobody would hand out while the root works
        root_works = wire.size <= ROOT_WORKS_UP_TO
    return Engine(
        wire,
        root_works=who_works(wire.size, root_works),
        isolation=isolation,
        give_up=functools.partial(_give_up, wire),
        trace=trace,
        clock_offsets=None if trace is None else wire.clock_offsets(),
    )


def _check_promise(environment: Mapping[str, str], launcher: Launcher | None) -> None:
    """Refuse to start with other ranks than a batch job was promised; say so if a scheduler's ranks are not used.

    How many ranks see each other is checked when they join.
    """
    promised = environment.get("MPIDRIVER_RANKS", "")
    started = 1 if launcher is None else launcher.ranks
    if promised.isdigit() and started is not None and started != int(promised):
        name = "no launcher" if launcher is None else launcher.name
        raise LaunchError(
            f"the job has {promised} ranks, but {name} started {started}; `mpidriver submit --launcher` names what "
            "starts them, with {ranks} in place of their number"
        )
    tasks = environment.get("SLURM_NTASKS", "")
    if launcher is None and not promised and tasks.isdigit() and int(tasks) > 1 and "SLURM_STEP_ID" not in environment:
        cure = "`srun --mpi=pmix` before the command starts all"
        print(f"mpidriver: Slurm has given {tasks} tasks, and one rank runs; {cure}", file=sys.stderr)


def who_works(ranks: int, root_works: bool | None) -> bool | None:
    """Return whether the root of so many ranks runs tasks; None means the long ones."""
    return True if root_works is None and ranks <= ROOT_WORKS_UP_TO else root_works


def _run_rank(wire: "MpiWire", engine: Engine, main: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    sharpen_sleep()
    with _switching_fast():
        if wire.allows_threads:
            engine.traffic.start_progress(engine.give_up)
        try:
            if wire.rank == 0:
                with _leaving_word():
                    return _run_main(engine, main, args)
            _serve(engine)
            return None
        finally:
            engine.traffic.stop_progress()
            wire.close(all_live=engine.alive == engine.size)


def _run_main(engine: Engine, main: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    context = engine.open_root()
    try:
        value = main(Pool(context), *args)
    except PoolStopped as stopped:
        engine.close_root(context, cancel=True)
        raise SystemExit(EXIT_STOPPED) from stopped
    except BaseException:
        if not engine.close_root(context, cancel=True, patience_seconds=PATIENCE_SECONDS):
            engine.give_up()
        raise
    engine.close_root(context, cancel=False)
    return value


def _serve(engine: Engine) -> None:
    try:
        engine.serve()
    except BaseException:
        engine.give_up()
        raise


def _give_up(wire: "MpiWire") -> None:
    """End all ranks, saying why: what failed is the pool itself, or a main program that others cannot outlive."""
    print(f"mpidriver: rank {wire.rank} of {wire.host} ends the run:", file=sys.stderr)
    traceback.print_exc()
    wire.abort()


@contextlib.contextmanager
def _leaving_word() -> Iterator[None]:
    """Tell whoever has started the ranks, if it wants to know, that the main program has begun, and that it has ended.

    Launchers under which ranks outlive each other do not say so if rank 0 was killed.
    """
    _write_word("began")
    try:
        yield
    finally:
        _write_word("ended")


def leave_code(code: int) -> None:
    """Tell whoever has started the ranks, if it wants to know, with which code the main program ends.

    Launchers return the codes of other ranks, as of those that they have killed when the first one ended.
    """
    _write_word(f"ended {code}")


def _write_word(word: str) -> None:
    witness = os.environ.get("MPIDRIVER_WITNESS")
    if witness is not None:
        with open(witness, "w", encoding="ascii") as file:
            file.write(word)


@contextlib.contextmanager
def _switching_fast() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
