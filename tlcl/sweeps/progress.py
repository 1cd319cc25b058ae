"""How long many runs still take, from those that are done."""

from collections.abc import Sequence


def seconds_left(done: Sequence[tuple[float, float]], left: Sequence[float], jobs: int) -> float | None:
    """Seconds until the last of a plan is done, when what is left goes on as fast as what is done.

    Args:
        done: (weight, seconds) of each that is done.
        left: the weights of the others, those that run now included.
        jobs: how many run at once.

    Returns:
        None as long as none is done.
    """
    weight = sum(one for one, _ in done)
    if not weight:
        return None
    rate = sum(seconds for _, seconds in done) / weight
    return rate * max(sum(left) / jobs, max(left, default=0.0))


def in_words(seconds: float | None) -> str:
    """`about 12 min left`; empty where it is not known or nothing is left."""
    if not seconds:
        return ""
    minutes = seconds / 60
    if minutes >= 100:
        return f"about {minutes / 60:.0f} h left"
    return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
