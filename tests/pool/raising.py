"""`pytest.raises` for programs that run on many ranks: there importing pytest takes longer than many a check."""

import re

__all__ = ["raises"]


class raises:
    """Fails unless an exception of a kind is raised whose text matches; it is the `value` then."""

    def __init__(self, kinds, match=""):
        self.kinds = kinds
        self.match = match
        self.value = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        assert kind is not None, f"nothing was raised; expected: {self.kinds}"
        if not issubclass(kind, self.kinds):
            return False
        assert re.search(self.match, str(error)), f"{self.match!r} is not in {str(error)!r}"
        self.value = error
        return True
