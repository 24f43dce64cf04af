"""Give a finished body its name, and its sidecar, in an order that never leaves a wrong pair."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from shardpack.atomic import AtomicFile
from shardpack.batch import write_all
from shardpack.errors import S4IndexError
from shardpack.frame import SIDECAR_SUFFIX, index_is_trusted
from shardpack.frame_io.table import MAX_SIDECAR_BYTES

__all__ = ["publish_body", "require_sidecar_place"]


def require_sidecar_place(path: str) -> None:
    """Refuse a body whose sidecar would take the place of somebody's file.

    Args:
        path: Path of the body.

    Raises:
        FileExistsError: What lies at the sidecar's path is no sidecar.
    """
    place = path + SIDECAR_SUFFIX
    if os.path.lexists(place) and not _is_sidecar(place):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)


def publish_body(body: AtomicFile, sidecar: bytes | None) -> None:
    """Publish a body of frames, then its sidecar.

    A sidecar of an earlier file goes first and the new one appears last: whenever this is
    interrupted, no sidecar lies beside a body that it does not describe.

    Args:
        body: The finished body.
        sidecar: The bytes, ``None`` for a body without one.

    Raises:
        FileExistsError: The body may replace nothing, and its place is taken, or that of its
            sidecar by a file that is none.
        OSError: The disk refused.
    """
    if sidecar is None:
        body.prepare()
        _replace(body)
        return
    place = body.path + SIDECAR_SUFFIX
    with AtomicFile(place, overwrite=True, attributes_of=body.attributes) as beside:
        write_all(beside.file, sidecar)
        if body.attributes is None:
            os.fchmod(beside.file.fileno(), os.fstat(body.file.fileno()).st_mode & 0o777)
        beside.prepare()
        body.prepare()
        _replace(body)
        beside.publish()


def _replace(body: AtomicFile) -> None:
    """Remove an earlier sidecar and publish the body."""
    place = body.path + SIDECAR_SUFFIX
    if body.overwrite:
        if _remove(place):
            body.sync_folder()
        body.publish()
        return
    require_sidecar_place(body.path)
    if not os.path.lexists(place) or os.path.lexists(body.path):
        body.publish()
        return
    # Somebody may still take the body's name: then their sidecar must be what it was.
    aside = body.temporary_path()
    os.rename(place, aside)
    try:
        body.publish()
    except BaseException:
        with suppress(FileExistsError):
            os.link(aside, place)
        raise
    finally:
        os.unlink(aside)


def _is_sidecar(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIDECAR_BYTES + 1)
        index_is_trusted(content)
    except (OSError, S4IndexError):
        return False
    return True


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
