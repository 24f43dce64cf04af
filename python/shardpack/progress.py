"""The two kinds of progress callback that callers may pass, made one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bar", "Progress", "progress_callback"]


class Bar(Protocol):
    """What ``tqdm`` bars have."""

    def update(self, n: int, /) -> object:
        """Advance by ``n`` bytes."""


if TYPE_CHECKING:
    Progress = Callable[[int], object] | Bar | None
else:
    Progress = object


def progress_callback(progress: Progress) -> Callable[[int], object]:
    """Make one kind of callback of the two that callers may pass.

    Args:
        progress: A callable that takes the number of bytes done so far, an object with the
            ``update(increment)`` of a tqdm bar, or ``None``.

    Returns:
        A callable that takes the number of bytes done so far.

    Raises:
        TypeError: It is none of them.
    """
    if progress is None:
        return lambda _done: None
    update = getattr(progress, "update", None)
    if update is not None:
        done_before = 0

        def advance(done: int) -> None:
            nonlocal done_before
            update(done - done_before)
            done_before = done

        return advance
    if not callable(progress):
        raise TypeError(f"progress must be callable or have update(), got {progress!r}")
    return progress
