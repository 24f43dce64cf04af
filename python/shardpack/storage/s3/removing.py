"""Removing objects, one or a thousand at a time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from shardpack.errors import ObjectNotFoundError, StorageError
from shardpack.storage.retry import is_transient
from shardpack.storage.s3.errors import error_of_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardpack.storage.s3.requests import Requests

__all__ = ["delete", "delete_many"]

_BATCH = 1000
# Characters that XML cannot hold, whatever they are escaped as; such keys go by themselves.
_FIRST_PLAIN = " "


def delete(requests: Requests, key: str) -> None:
    """Remove an object; one that is not there is no error."""
    try:
        requests.call("delete", key, "delete_object")
    except ObjectNotFoundError:
        # Some servers say so; the key is free, which is what was asked for.
        return


def delete_many(requests: Requests, keys: Iterable[str]) -> dict[str, StorageError]:
    """Remove many objects; gives the failures by key."""
    source = iter(keys)
    failures: dict[str, StorageError] = {}
    while batch := list(islice(source, _BATCH)):
        plain = [key for key in batch if min(key, default=" ") >= _FIRST_PLAIN]
        failures.update(_delete_batch(requests, plain))
        for key in batch:
            if min(key, default=" ") < _FIRST_PLAIN:
                try:
                    delete(requests, key)
                except StorageError as error:
                    failures[key] = error
    return failures


def _delete_batch(requests: Requests, keys: list[str]) -> dict[str, StorageError]:
    failures: dict[str, StorageError] = {}
    attempts = None
    while keys:
        answer = requests.call(
            "delete",
            None,
            "delete_objects",
            Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
        )
        errors = {item.get("Key", ""): _error(requests, item) for item in answer.get("Errors", ())}
        passing = [key for key, error in errors.items() if is_transient(error)]
        failures.update({key: error for key, error in errors.items() if key not in passing})
        if not passing:
            break
        attempts = attempts or requests.retry.begin("delete", None)
        try:
            attempts.wait(errors[passing[0]])
        except StorageError:
            # No attempt is left; each key is told its own error.
            failures.update({key: errors[key] for key in passing})
            break
        keys = passing
    return {key: error for key, error in failures.items() if error.code != "NoSuchKey"}


def _error(requests: Requests, item: dict[str, Any]) -> StorageError:
    return error_of_answer(
        "delete",
        requests.bucket,
        item.get("Key"),
        status=200,
        code=item.get("Code") or "Unknown",
        message=item.get("Message", ""),
    )
