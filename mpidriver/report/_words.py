"""Numbers as people read them."""

__all__ = ["duration", "plural"]


def duration(seconds: float) -> str:
    """Return a time span as text with two units at most, as ``0.4 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if not seconds < float("inf"):
        return "?"
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def plural(count: int, noun: str) -> str:
    """Return ``1 frame`` or ``3 frames``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
