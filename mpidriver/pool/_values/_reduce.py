"""A reduction on the ranks, by a binary tree that depends on nothing but the number of items.

The tree is that of the indexes: neighbours are combined, item 0 with 1, 2 with 3 and so on, then the pairs in the same
way, until one value is left; what has no right neighbour goes up as it is. So the value is the same, to the last
bit of a floating-point number, on any number of ranks.

Items travel in aligned blocks, each a whole subtree, which the rank that gets it combines by itself; what comes out
stays there. As soon as two neighbours exist, they are combined on a rank that holds one of them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mpidriver.errors import TaskError
from mpidriver.pool._rank._calls import Call, Report, counted
from mpidriver.pool._transport._codec import UNDONE, Failure
from mpidriver.pool._values import _held
from mpidriver.pool._values._held import Held, Token
from mpidriver.pool._values._read_only import read_only

__all__ = ["ReduceCall", "Step", "block_size"]

BLOCKS = 32
"""Blocks a rank, so that all are busy to the end."""


def block_size(items: Sequence[tuple[Any, ...]], ranks: int) -> int:
    """Return how many items travel together: a power of two, 1 if held values should not move for it."""
    if _held.exist() and any(map(_held.find_in, items)):
        return 1
    return 1 << max(1, len(items) // (BLOCKS * ranks)).bit_length() - 1


class Step:
    """What the ranks run: with one argument, a block of items, their reduction; with two, their combination.

    Parameters
    ----------
    op
        Combines two values, the left one first.
    fn
        Makes a value of an item.
    """

    def __init__(self, op: Callable[[Any, Any], Any], fn: Callable[..., Any]) -> None:
        self.op = op
        self.fn = fn

    def __call__(self, *args: Any) -> Any:
        """Reduce a block, or combine two values."""
        return self.op(*args) if len(args) == 2 else self._reduce(args[0])

    def _reduce(self, block: Iterable[tuple[Any, ...]]) -> Any:
        values: list[Any] = []  # whole subtrees, each smaller than the one to its left
        for count, args in enumerate(block, 1):
            values.append(read_only(self.fn(*args)))
            while not count & 1:
                self._combine(values)
                count >>= 1
        while len(values) > 1:
            self._combine(values)
        return values[0]

    def _combine(self, values: list[Any]) -> None:
        right = values.pop()
        values[-1] = read_only(self.op(values[-1], right))


class ReduceCall(Call):
    """A reduction in progress.

    Parameters
    ----------
    function
        Key of the `Step`.
    items
        Tuples of arguments, at least one.
    size
        Items in a block, a power of two.
    own
        Makes the handle of a value from its token, the rank that holds it and the arguments that it came from.
    hand_out
        Makes one more item of the call ready, unless nobody wants it any more.
    """

    def __init__(
        self,
        function: int,
        items: Sequence[tuple[Any, ...]],
        size: int,
        own: Callable[[Token, int, tuple[Any, ...]], Held],
        hand_out: Callable[[Call, int], None],
    ) -> None:
        super().__init__(function)
        self._own = own
        self._hand_out = hand_out
        self._items = len(items)
        self._size = size
        self.blocks = -(-len(items) // size)
        """How many blocks there are: they are the first items of the call."""
        self._nodes: dict[int, tuple[int, int]] = {block: (0, block) for block in range(self.blocks)}
        """Level and position in the tree of blocks, by index."""
        self._arguments: dict[int, tuple[Any, ...]] = {
            block: (list(items[block * size : (block + 1) * size]),) for block in range(self.blocks)
        }
        self._height = (self.blocks - 1).bit_length()
        self._made = self.blocks
        self._waiting: dict[tuple[int, int], Held] = {}
        self._failures: dict[range, TaskError] = {}
        self._root: Held | None = None

    def arguments(self, index: int) -> tuple[Any, ...]:
        """Return the block, or the two values."""
        return self._arguments[index]

    def deliver(self, indexes: Sequence[int], report: Report) -> None:
        """Combine what has both neighbours now."""
        for position, index in enumerate(indexes):
            value = report.values[position]
            if type(value) is Failure and value.kind == UNDONE:
                self.leave([index], value.cause)
            elif type(value) is Failure:
                error = self._outcome(index, report, position).error
                assert error is not None
                self._failures[self._covered(index)] = error
            else:
                self._rise(*self._nodes[index], self._own(value, report.rank, self._arguments[index]))
            del self._nodes[index], self._arguments[index]
        self.left -= len(indexes)  # after what was added, so that it is not over in between

    def result(self) -> Held:
        """Return the handle of the whole, or raise the error of the first that failed."""
        if self._failures:
            first = min(self._failures, key=lambda covered: (covered.start, covered.stop))
            raise counted(self._failures[first], len(self._failures))
        assert self._root is not None
        return self._root

    def _item(self, index: int) -> Any:
        """Return what is said to have failed: the item, or the indexes of several."""
        covered, args = self._covered(index), self._arguments[index]
        if len(covered) > 1:
            return covered
        (item,) = args[0]
        return item[0] if len(item) == 1 else item

    def _covered(self, index: int) -> range:
        level, position = self._nodes[index]
        width = self._size << level
        return range(position * width, min((position + 1) * width, self._items))

    def _rise(self, level: int, position: int, held: Held) -> None:
        """Take the value of a node; combine it with its neighbour if that exists, or let it wait."""
        while level < self._height and self._has_no_neighbour(level, position):
            level, position = level + 1, position // 2
        if level == self._height:
            self._root = held
            return
        neighbour = self._waiting.pop((level, position ^ 1), None)
        if neighbour is None:
            self._waiting[level, position] = held
            return
        index, self._made = self._made, self._made + 1
        self._nodes[index] = (level + 1, position // 2)
        self._arguments[index] = (neighbour, held) if position & 1 else (held, neighbour)
        self._hand_out(self, index)

    def _has_no_neighbour(self, level: int, position: int) -> bool:
        return (position ^ 1) << level >= self.blocks
