"""What the script of a job runs: it starts the ranks, watches over them and keeps the job's own record.

::

    begin ── the ranks run ──┬── an exit code of mpidriver ───────────────────────────── end
                             ├── 75, near the time limit or preempted ──── requeue ───── end, and begin again later
                             ├── 75, cancelled ───────────────────────────────────────── end
                             └── killed ── once more, each quantum in a child process ── end

Under srun the death of one rank ends all. What has killed it cannot be told from what ran beside it; in child processes
it costs itself alone, is recorded as failed, and everything else is finished.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mpidriver.batch._deadline import Deadline
from mpidriver.batch._launching import check_allocation, launch_command, launch_environment
from mpidriver.batch._records import ATTEMPT_VARIABLE, Attempt, JobFolder, all_jobs
from mpidriver.batch._schedulers import scheduler_of
from mpidriver.batch._standing import ENDED, standings
from mpidriver.batch._supervision import STOPPED, LaunchEnd, SignalRelay, supervise
from mpidriver.errors import LaunchError, MpidriverError

__all__ = ["run_job"]

BEAT_SECONDS = 30.0
"""How often a job gives a sign of life."""
_LOOK_SECONDS = 1.0
"""How often a local job looks whether those that it waits for have ended."""
EXIT_POOL = 4
_SAYS = "mpidriver: "
_TAIL_BYTES = 1 << 16
_ELEMENTS = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID")


@dataclass(frozen=True)
class _End:
    """How an attempt ended."""

    code: int
    why: str = ""
    wants_requeue: bool = False


def run_job(folder: JobFolder) -> int:
    """Run a job, or all elements of an array that no batch system takes apart, and return its exit code."""
    job = folder.job()
    if job.system != "local":
        element = next((int(os.environ[name]) for name in _ELEMENTS if os.environ.get(name)), None)
        own = JobFolder(folder.path, element if job.array else None)
        if job.system == "pbs":
            _write_into(own)
        return _Attempts(own).once()
    culprit = _wait_for_others(folder)
    if culprit:
        print(f"mpidriver: not begun: {culprit}", flush=True)
        return EXIT_POOL
    return max(_Attempts(own).until_over() for own in folder.elements())


def _write_into(folder: JobFolder) -> None:
    """Let what is printed appear beside the repository at once; PBS would bring it when the job has ended."""
    folder.log.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.log, "ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())


def _wait_for_others(folder: JobFolder) -> str:
    """Wait until the jobs before this one have ended; return why it cannot run, empty if it can."""
    job = folder.job()
    repository = folder.path.parent.parent
    while True:
        known = standings(all_jobs(repository))
        own = next(standing for standing in known if standing.job.number == job.number)
        if own.state in ENDED:
            return own.why
        waits = {standing.state for standing in known if standing.job.number in (*job.after, *job.after_any)}
        if waits <= ENDED:
            return ""
        time.sleep(_LOOK_SECONDS)


class _Attempts:
    """Runs one job, or one element of an array.

    Parameters
    ----------
    folder
        Its records.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._job = folder.job()
        self._submitted = folder.submitted()

    def until_over(self) -> int:
        """Run it again as often as it would be put back into a queue."""
        while True:
            code = self.once()
            if not self._folder.attempts()[-1].requeued:
                return code

    def once(self) -> int:
        """Run it once; if it was stopped by its time limit, it goes back into the queue."""
        scheduler_id = self._submitted[0] if self._submitted is not None else ""
        attempt = self._folder.begin(socket.gethostname(), scheduler_id)
        with SignalRelay() as relay, self._alive(attempt):
            end = self._run(attempt, relay)
        requeued, why = False, end.why
        if end.wants_requeue and attempt.number > self._job.requeues:
            why = f"{why}; not put back into the queue after {self._job.requeues} times"
        elif end.wants_requeue:
            requeued = True
        self._folder.end(attempt, end.code, why, requeued=requeued)
        if requeued:
            self._requeue(attempt, scheduler_id, end)
        print(f"mpidriver job {self._folder.number}, attempt {attempt.number}: code {end.code} {why}", flush=True)
        return end.code

    def _requeue(self, attempt: Attempt, scheduler_id: str, end: _End) -> None:
        """Put the job back into the queue; the record is there already, because some systems end the job at once."""
        try:
            number = scheduler_of(self._job.system).requeue(self._folder.script, scheduler_id)
        except LaunchError as error:
            self._folder.end(attempt, end.code, f"{end.why}; {error}", requeued=False)
            return
        if number != scheduler_id:
            self._folder.note_submitted(number)

    @contextlib.contextmanager
    def _alive(self, attempt: Attempt) -> Iterator[None]:
        over = threading.Event()

        def beat() -> None:
            self._folder.beat(attempt)
            while not over.wait(BEAT_SECONDS):
                self._folder.beat(attempt)

        thread = threading.Thread(target=beat, name="mpidriver-job-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _run(self, attempt: Attempt, relay: SignalRelay) -> _End:
        environment = launch_environment(self._job, os.environ)
        environment[ATTEMPT_VARIABLE] = str(self._folder.attempt_path(attempt.number, ".json"))
        arguments = self._job.arguments(self._folder.element)
        try:
            check_allocation(self._job, os.environ)
            before = self._log_size()
            with Deadline(self._job.time_limit_seconds, self._job.drain_seconds, relay, self._job.system) as clock:
                end = self._launch(arguments, environment, relay)
                note = ""
                if end.died and self._job.isolates and not relay.came and "--isolate" not in arguments:
                    note = f"a rank was killed (code {end.code}), so each quantum ran in a child process; "
                    print(f"mpidriver job {self._folder.number}: {note}once more", flush=True)
                    end = self._launch([*arguments, *self._isolation()], environment, relay)
        except MpidriverError as error:
            print(f"mpidriver: {error}", file=sys.stderr, flush=True)
            return _End(EXIT_POOL, str(error))
        return _judge(end, f"{note}{self._last_word(before) if end.code not in (0, STOPPED) else ''}", relay, clock)

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return self._folder.log.stat().st_size
        return 0

    def _last_word(self, start: int) -> str:
        """Return the last line in which mpidriver said what is wrong, from a position of the log on."""
        with contextlib.suppress(OSError), open(self._folder.log, "rb") as log:
            log.seek(max(start, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
            said = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
            return f"{said[-1]}; " if said else ""
        return ""

    def _isolation(self) -> list[str]:
        memory = self._job.memory_bytes
        return ["--isolate", *([] if memory is None else ["--memory", f"{memory // self._job.ranks_per_node}B"])]

    def _launch(self, arguments: list[str], environment: Mapping[str, str], relay: SignalRelay) -> LaunchEnd:
        if relay.came:
            return LaunchEnd(STOPPED, died=False)
        argv = [sys.executable, "-P", "-m", "mpidriver", *arguments]
        command = launch_command(self._job, argv, environment)
        try:
            return supervise(command, environment, relay)
        except OSError as error:
            raise LaunchError(f"{command[0]}: {error.strerror}; --launcher names what starts the ranks") from None


def _judge(end: LaunchEnd, note: str, relay: SignalRelay, clock: Deadline) -> _End:
    """Return what an attempt came to."""
    by_clock = signal.SIGUSR1 in relay.came and not relay.asks_to_end
    if clock.killed:
        return _End(STOPPED, f"{note}what ran at the time limit had not ended and was killed", wants_requeue=True)
    if end.code == STOPPED or (by_clock and end.code == 128 + signal.SIGUSR1):  # ranks that had not begun
        why = "stopped before the time limit" if by_clock else "stopped by a signal"
        return _End(STOPPED, f"{note}{why}", wants_requeue=by_clock)
    if end.died:
        again = " again" if "child process" in note else ""
        note += f"a rank was killed{again}: look at memory (--memory) and nodes"
    return _End(end.code, note.removesuffix("; "))
