"""A task of an executor as it travels: its function, its arguments, and what comes back.

The other calls of a pool send errors as text. Users of an executor expect the exception itself, so here the function is
called by an `Errand`, which packs whatever it raises, beside the text for what does not survive the journey.
Arguments are packed when they are submitted, so that what cannot be packed is the future's own error.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from mpidriver.errors import PoolError, TaskError
from mpidriver.pool._outcome import Outcome
from mpidriver.pool._rank._context import contexts_of_thread
from mpidriver.pool._transport._codec import Packed, Parcel, Wrapped, are_plain, describe, is_importable, pack, unpack
from mpidriver.pool._values import _held

__all__ = ["BrokenPoolError", "Errand", "Setup", "arguments_of", "error_of", "is_of_setup", "value_of"]


class BrokenPoolError(PoolError, BrokenProcessPool):
    """An executor cannot run tasks any more; or one of its tasks, or its result, could not be read where it arrived."""


class LostTaskError(TaskError, BrokenProcessPool):
    """The process that ran a task has died."""


class Raised(NamedTuple):
    """An exception on its way back."""

    stage: str
    """Where it was raised: "setup", "read" or "task"."""
    cause: str
    remote_traceback: str
    packed: Packed | None
    """The exception, None if it cannot travel."""
    exception: BaseException | None = None
    """The exception itself, where nothing travels."""


class Arguments(NamedTuple):
    """Arguments some of which have names, where nothing travels."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class Setup:
    """What an executor runs once in every process, before the first of its tasks there.

    Parameters
    ----------
    initializer, initargs
        The function and its arguments.
    travels
        Whether it is run in other processes, and must be packed.
    """

    def __init__(self, initializer: Callable[..., Any], initargs: tuple[Any, ...], *, travels: bool) -> None:
        self.token = os.urandom(16).hex()
        self._call = pack((initializer, initargs)) if travels else (initializer, initargs)
        self._travels = travels

    def ensure(self) -> Raised | None:
        """Run it unless it was run in this process; return how it failed."""
        with _setting_up:
            if self.token not in _was_set_up:
                _was_set_up[self.token] = None  # an initializer that maps may run tasks of its own executor
                _was_set_up[self.token] = self._run()
            return _was_set_up[self.token]

    def _run(self) -> Raised | None:
        try:
            initializer, initargs = unpack(self._call) if isinstance(self._call, Packed) else self._call
            initializer(*initargs)
        except BaseException as error:
            return _raised("setup", error, travels=self._travels)
        return None


_setting_up = threading.RLock()
_was_set_up: dict[str, Raised | None] = {}
"""How the setups of this process ended, by their tokens."""


class Errand(Wrapped):
    """A function as an executor has it called: packed when it is made, however often it is called then.

    Parameters
    ----------
    function
        The function.
    setup
        What is to be run before it.
    is_chunk
        Whether it is called with a list of arguments, and returns a list.
    travels
        Whether it is called in other processes. Otherwise nothing is packed.
    """

    is_frozen = True

    def __init__(
        self, function: Callable[..., Any], setup: Setup | None = None, *, is_chunk: bool, travels: bool
    ) -> None:
        super().__init__(function)
        self._setup = setup
        self._is_chunk = is_chunk
        self._travels = travels
        self._packed: Packed | None = pack(function) if travels else None
        self._whole: Packed | None = None
        self.__qualname__ = str(getattr(function, "__qualname__", type(function).__qualname__))
        self._identity = (_content(function, self._packed), setup, is_chunk, travels)
        self._hash = hash(self._identity)

    def __reduce__(self) -> Any:
        return (_arrived, (self._packed, self._setup, self._is_chunk))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Errand) and self._identity == other._identity)

    def __hash__(self) -> int:
        return self._hash

    def pack(self) -> Packed:
        """Pickle it, once."""
        if self._whole is None:
            self._whole = super().pack()
        return self._whole

    def __call__(self, *args: Any) -> Any:
        """Call the function; return its value as `value_of` takes it, or a `Raised`."""
        failed = self._setup.ensure() if self._setup is not None else None
        if failed is not None:
            return failed
        stage = "read"
        try:
            call, positional, named = self._read(args)
            if _held.exist():
                positional, named = contexts_of_thread()[-1].engine.held.resolve((positional, named))
            stage = "task"
            value = call(*positional, **named)
            return Parcel(pack(value)) if self._travels and not are_plain((value,), 0) else value
        except BaseException as error:
            _drop_what_it_scattered()
            return _raised(stage, error, travels=self._travels)

    def _read(self, args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        if self.function is None:
            assert self._packed is not None
            self.function = unpack(self._packed)
        named: dict[str, Any] = {}
        if len(args) == 1 and isinstance(args[0], Parcel):
            args, named = unpack(args[0].content)
        elif len(args) == 1 and isinstance(args[0], Arguments):
            args, named = args[0]
        return self._call_each if self._is_chunk else self.function, args, named

    def _call_each(self, *items: tuple[Any, ...]) -> list[Any]:
        return [self.function(*item) for item in items]


def _content(function: Callable[..., Any], packed: Packed | None) -> Any:
    """Return what tells a function from others: itself, or its pickle, which says what it has captured."""
    if is_importable(function):
        return function
    return packed.data if packed is not None and not packed.buffers and isinstance(packed.data, bytes) else object()


def _arrived(packed: Packed, setup: Setup | None, is_chunk: bool) -> Errand:
    """Make an errand in the process that runs it; its function is read when it is called."""
    errand = Errand.__new__(Errand)
    errand.function = None
    errand._packed, errand._setup, errand._is_chunk, errand._travels = packed, setup, is_chunk, True
    return errand


def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any], *, travels: bool) -> tuple[Any, ...]:
    """Return what to call an errand with.

    Raises
    ------
    BaseException
        Whatever packing the arguments raises.
    """
    if not travels:
        return (Arguments(args, kwargs),) if kwargs else args
    if not kwargs and are_plain(args, 0):
        return args
    return (Parcel(pack((args, kwargs))),)


def _raised(stage: str, error: BaseException, *, travels: bool) -> Raised:
    text = describe(error, skip=1)
    if not travels:
        return Raised(stage, text.cause, text.remote_traceback, None, error)
    try:
        packed = pack(error)
    except BaseException:
        packed = None
    return Raised(stage, text.cause, text.remote_traceback, packed)


def _drop_what_it_scattered() -> None:
    """End what a failed task has submitted and not waited for: the engine sees only tasks that succeed here."""
    contexts = contexts_of_thread()
    if contexts and contexts[-1].work is not None and contexts[-1].scope is not None:
        contexts[-1].engine.end_scope(contexts[-1], cancel=True)


# Back at whoever has submitted


def value_of(outcome: Outcome) -> Any:
    """Return the value of a task.

    Raises
    ------
    BrokenPoolError
        If it cannot be read.
    """
    if not isinstance(outcome.value, Parcel):
        return outcome.value
    try:
        return unpack(outcome.value.content)
    except BaseException as error:
        text = describe(error)
        raised = Raised("read", text.cause, text.remote_traceback, None, error)
        raise _unreadable(error, raised, f"the result of {outcome.name}") from None


def is_of_setup(outcome: Outcome) -> bool:
    """Whether a task was not run because its executor's initializer has failed."""
    return isinstance(outcome.value, Raised) and outcome.value.stage == "setup"


def error_of(outcome: Outcome) -> BaseException | None:
    """Return the error of a task, None if it has a value.

    It is the exception that was raised, with its remote traceback as the cause; a `TaskError` if that cannot travel.
    """
    if outcome.error is not None:
        return _lost(outcome.error) if outcome.error.kind != "raised" else outcome.error
    if not isinstance(outcome.value, Raised):
        return None
    raised = outcome.value
    if raised.stage == "setup":
        return _with_cause(BrokenPoolError(_setup_text(outcome, raised)), raised)
    error = raised.exception if raised.exception is not None else _unpacked(raised)
    if raised.stage == "read":
        return _unreadable(error, raised, f"function or arguments of {outcome.name}")
    if error is None:
        error = TaskError(_item(outcome), outcome.rank, outcome.host, raised.cause, raised.remote_traceback)
    return error if raised.exception is not None else _with_cause(error, raised)


def _setup_text(outcome: Outcome, raised: Raised) -> str:
    return f"the initializer of this executor has failed on rank {outcome.rank} of {outcome.host}: {raised.cause}"


def _unpacked(raised: Raised) -> BaseException | None:
    try:
        error = unpack(raised.packed) if raised.packed is not None else None
    except BaseException:
        return None
    return error if isinstance(error, BaseException) else None


def _item(outcome: Outcome) -> Any:
    try:
        return unpack(outcome.item.content)[0] if isinstance(outcome.item, Parcel) else outcome.item
    except BaseException:
        return outcome.name


def _lost(error: TaskError) -> LostTaskError:
    return LostTaskError(*error.args)


def _unreadable(error: BaseException | None, raised: Raised, what: str) -> BaseException:
    """Return an error that is both the one that reading has raised and a `BrokenPoolError`."""
    text = f"{what} cannot be unpickled: {raised.cause}"
    unreadable = BrokenPoolError(text)
    if isinstance(error, Exception):
        kind = type(error)
        with contextlib.suppress(TypeError):  # of a class that cannot be combined, or made, in this way
            both: Any = type(kind.__name__, (BrokenPoolError, kind), {"__module__": kind.__module__})
            unreadable = both.__new__(both, text)
            unreadable.args = (text,)
    return _with_cause(unreadable, raised)


def _with_cause(error: BaseException, raised: Raised) -> BaseException:
    from concurrent.futures.process import _RemoteTraceback  # what tells of tracebacks everywhere else, though private

    remote_traceback: Any = _RemoteTraceback
    error.__cause__ = remote_traceback(f'\n"""\n{raised.remote_traceback}"""')
    return error
