"""A scatter: a map whose results stay where they were computed."""

from collections.abc import Callable, Sequence
from typing import Any

from mpidriver.pool._rank._calls import MapCall, Report
from mpidriver.pool._transport._messages import ScopeId
from mpidriver.pool._values._held import Held, Token

__all__ = ["ScatterCall"]


class ScatterCall(MapCall):
    """A map that wants handles.

    Parameters
    ----------
    function, items
        As for `MapCall`.
    scope
        Scope that it belongs to.
    own
        Makes the handle of a value from its token, the rank that holds it and the arguments that it came from.
    keeps_errors
        Whether a value that failed has a handle too.
    """

    def __init__(
        self,
        function: int,
        items: Sequence[tuple[Any, ...]],
        scope: ScopeId,
        own: Callable[[Token, int, tuple[Any, ...]], Held],
        *,
        keeps_errors: bool,
    ) -> None:
        super().__init__(function, items)
        self._scope = scope
        self._own = own
        self._keeps_errors = keeps_errors

    def deliver(self, indexes: Sequence[int], report: Report) -> None:
        """Put handles in the places of the values."""
        super().deliver(indexes, report)
        for index in indexes:
            if type(self.values[index]) is Token:
                self.values[index] = self._own(self.values[index], report.rank, self.arguments(index))

    def result(self) -> list[Held]:
        """Return all handles, or raise the error of the first item that failed."""
        if self._keeps_errors:
            for index, error in self._failures.items():
                self.values[index] = Held(self._scope, None, error.rank, error=error)
            self._failures = {}
        return super().result()
