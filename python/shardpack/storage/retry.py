"""When a failed request is worth repeating, how often, and how long to wait in between."""

from __future__ import annotations

import random
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from shardpack.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Attempts", "RetryPolicy", "is_transient"]

T = TypeVar("T")

_PERMANENT = (ssl.SSLCertVerificationError,)
_TRANSIENT = (
    StorageUnavailableError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed when it is sent again.

    Throttling, failures of the server and broken or refused connections may pass. A request that
    was refused does not; nor is one repeated whose first copy may have taken effect
    (``ambiguous``).

    Args:
        error: What the request raised.
    """
    if isinstance(error, _PERMANENT) or getattr(error, "ambiguous", False):
        return False
    return isinstance(error, _TRANSIENT)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How requests are repeated: exponential waits, drawn at random so that clients spread out.

    Attributes:
        attempts: Most times a request is sent; 1 means never again.
        first_wait_s: Longest wait in seconds after the first failure; it doubles with each one.
        longest_wait_s: Where the doubling ends, in seconds. A server that asks for a longer wait
            (``Retry-After``) gets it, within the deadline.
        deadline_s: No attempt begins later than this many seconds after the first one.
    """

    attempts: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 20.0
    deadline_s: float = 120.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        for name in ("first_wait_s", "longest_wait_s", "deadline_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def begin(self, operation: str, key: str | None) -> Attempts:
        """Start counting the failures of one request.

        Args:
            operation: What is done, such as ``"get"``, for the message of the last error.
            key: Key of the object.
        """
        return Attempts(self, operation, key)

    def run(self, operation: str, key: str | None, call: Callable[[], T]) -> T:
        """Make a request, again while it fails for a passing reason.

        Args:
            operation: What is done, such as ``"get"``.
            key: Key of the object.
            call: Makes the request once.

        Returns:
            What ``call`` returned.

        Raises:
            StorageUnavailableError: Every attempt failed; its cause is the last failure.
            Exception: Anything else that ``call`` raises, at once.
        """
        attempts: Attempts | None = None
        while True:
            try:
                return call()
            except Exception as error:
                if not is_transient(error):
                    raise
                if attempts is None:
                    attempts = self.begin(operation, key)
                attempts.wait(error)


class Attempts:
    """The failures of one request so far.

    Args:
        policy: The policy.
        operation: What is done.
        key: Key of the object.
    """

    def __init__(self, policy: RetryPolicy, operation: str, key: str | None) -> None:
        self.policy = policy
        self.operation = operation
        self.key = key
        self.reset()

    def reset(self) -> None:
        """Forget the failures: bytes have arrived since."""
        self.failures = 0
        self._began = time.monotonic()

    def restart_clock(self) -> None:
        """Count the deadline from now on, but forget no failure."""
        self._began = time.monotonic()

    def wait(self, error: Exception) -> None:
        """Wait before the next attempt, or give up.

        Args:
            error: Why the last attempt failed; one for which ``is_transient`` holds.

        Raises:
            StorageUnavailableError: No attempt is left; ``error`` is its cause.
        """
        self.failures += 1
        wait = self._next_wait(error)
        elapsed = time.monotonic() - self._began
        if self.failures >= self.policy.attempts or elapsed + wait > self.policy.deadline_s:
            raise self._given_up(error) from error
        time.sleep(wait)

    def _next_wait(self, error: Exception) -> float:
        longest = min(
            self.policy.longest_wait_s, self.policy.first_wait_s * 2.0 ** (self.failures - 1)
        )
        wait = random.uniform(0, longest)  # noqa: S311 - spreads clients, hides nothing
        asked = getattr(error, "retry_after_s", None)
        return wait if asked is None else max(wait, asked)

    def _given_up(self, error: Exception) -> StorageUnavailableError:
        times = "once" if self.failures == 1 else f"{self.failures} times"
        what = self.operation if self.key is None else f"{self.operation} of {self.key!r}"
        return StorageUnavailableError(
            f"{what} failed {times}, last with: {str(error) or type(error).__name__}",
            key=self.key,
            code=getattr(error, "code", None),
            status=getattr(error, "status", None),
        )
