"""Keys: how they are written, made from templates, and put under the prefix of a store."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shardpack.errors import MissingPlaceholderError, UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shardpack.storage.base import ObjectStore

__all__ = [
    "MANIFEST_SUFFIX",
    "SHARD_SUFFIXES",
    "Space",
    "infer_id_from_key",
    "is_manifest_key",
    "is_shard_key",
    "normalize_key",
    "resolve_template",
    "split_virtual_key",
]

MANIFEST_SUFFIX: Final = ".jsonl"
SHARD_SUFFIXES: Final = (
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tar.xz",
    ".tar.zst",
    ".tzst",
    ".tar.s4",
)


def normalize_key(key: str) -> str:
    """Write a key in its one form: single slashes between its parts, none at the ends.

    Args:
        key: The key; everything but slashes is kept as it is.

    Returns:
        The key; ``""`` for ``"/"``.
    """
    return "/".join(part for part in key.split("/") if part)


def resolve_template(
    template: str,
    vars: Mapping[str, object],  # noqa: A002 - a documented name
    default_vars: Mapping[str, object] | None = None,
) -> str:
    """Put values in place of the ``{placeholders}`` of a template.

    A placeholder is a name in braces and nothing else: no conversion, no format, no attribute.
    ``{{`` and ``}}`` stand for braces.

    Args:
        template: The template.
        vars: Values by name; they are made text with ``str``.
        default_vars: Values for names that ``vars`` lacks.

    Returns:
        The key, normalised.

    Raises:
        MissingPlaceholderError: A name has no value; the first of the template is told.
        UnsafePathError: A value would lead out of its folder with ``..``, or holds a NUL.
        ValueError: The template has a lone brace, ``{}``, or more than a name in braces.
    """
    values = {**(default_vars or {}), **vars}
    resolved: list[str] = []
    for literal, name, specification, conversion in string.Formatter().parse(template):
        resolved.append(literal)
        if name is None:
            continue
        if specification or conversion or not _is_word(name):
            told = name + (f"!{conversion}" if conversion else "")
            told += f":{specification}" if specification else ""
            raise ValueError(f"{{{told}}} is no placeholder, in template {template!r}")
        if name not in values:
            raise MissingPlaceholderError(name, template)
        resolved.append(_checked_value(name, str(values[name])))
    key = normalize_key("".join(resolved))
    # Two harmless values can stand side by side: "{a}{b}" with a dot each.
    if key.split("/").count("..") > template.split("/").count(".."):
        raise _unsafe(key, f"values of template {template!r} make a '..' part")
    return key


def _is_word(name: str) -> bool:
    return bool(name) and all(letter.isalnum() or letter == "_" for letter in name)


def _checked_value(name: str, value: str) -> str:
    if "\0" in value:
        raise _unsafe(value, f"the value of {{{name}}} holds a NUL: {value!r}")
    if ".." in value.split("/"):
        raise _unsafe(value, f"the value of {{{name}}} has a '..' part: {value!r}")
    return value


def _unsafe(path: str, message: str) -> UnsafePathError:
    error = UnsafePathError(message)
    error.path = path
    return error


def infer_id_from_key(
    key: str,
    remove_extension: bool = True,  # noqa: FBT001, FBT002 - positional in older programs
) -> str:
    """Make an identifier of a key: its last part, by default without the last extension.

    Args:
        key: The key.
        remove_extension: Leave out what follows the last dot, and the dot.

    Returns:
        ``"b.tar"`` for ``"a/b.tar.gz"``; ``""`` for ``".hidden"``.
    """
    name = key.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if remove_extension else name


def split_virtual_key(key: str) -> tuple[str, str] | None:
    """Split the key of a member of an archive at its first ``#``.

    Args:
        key: The key.

    Returns:
        Key of the archive and path of the member; ``None`` for a key that has not both.
    """
    archive_key, _, member_path = key.partition("#")
    return (archive_key, member_path) if archive_key and member_path else None


def is_manifest_key(key: str) -> bool:
    """Tell whether a key is that of a manifest, by its extension."""
    return key.endswith(MANIFEST_SUFFIX)


def is_shard_key(key: str) -> bool:
    """Tell whether a key is that of a shard archive, by its extension."""
    return key.endswith(SHARD_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Space:
    """A store, and the prefix under which all keys of an exchange lie in it.

    Args:
        objects: The store.
        base_prefix: The prefix; ``""`` for the whole store.

    Raises:
        UnsafePathError: The prefix has ``.`` or ``..`` parts, or a NUL.
    """

    objects: ObjectStore
    base_prefix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_prefix", _checked_key(self.base_prefix))

    def full(self, key: str) -> str:
        """Give the key of the store: normalised, and under the prefix.

        Args:
            key: A key; one that begins with the prefix already is left as it is.

        Raises:
            UnsafePathError: The key is empty, has ``.`` or ``..`` parts, or a NUL.
        """
        checked = _checked_key(key)
        if not checked:
            raise _unsafe(key, f"empty key: {key!r}")
        return self._under_prefix(checked)

    def full_prefix(self, prefix: str) -> str:
        """Give the prefix to list for ``prefix``: a slash at its end is kept.

        Args:
            prefix: The beginning of keys; ``""`` for all that lie under the base prefix.

        Raises:
            UnsafePathError: As ``full``.
        """
        checked = _checked_key(prefix)
        if not checked:
            return f"{self.base_prefix}/" if self.base_prefix else ""
        if checked == self.base_prefix and prefix.endswith("/"):
            return f"{checked}/"
        return self._under_prefix(checked) + ("/" if prefix.endswith("/") else "")

    def relative(self, full_key: str) -> str:
        """Give the key as callers know it: without the prefix, and ``full`` leads back.

        Args:
            full_key: A key of the store.
        """
        if not self.base_prefix:
            return full_key
        short = full_key.removeprefix(f"{self.base_prefix}/")
        # Where a folder below the prefix has its very name, only the full key is clear.
        return full_key if short.startswith(f"{self.base_prefix}/") else short

    def holds(self, full_key: str) -> bool:
        """Tell whether a key of the store is written as this package writes keys.

        Args:
            full_key: What a listing gave; others may have put it there.
        """
        parts = full_key.split("/")
        return not {"", ".", ".."}.intersection(parts) and "\0" not in full_key

    def honours_conditions(self, key: str) -> bool:
        """Tell whether the store honours conditions on writes.

        Args:
            key: The key that is about to be written. Where a store must try it out, it does so in
                that folder: elsewhere there may be no rights.

        Raises:
            StorageError: It cannot be found out.
        """
        try_at = getattr(self.objects, "try_conditions_at", None)
        if try_at is not None:
            try_at(self.full(key))
        return self.objects.conditional_writes

    def _under_prefix(self, key: str) -> str:
        if not self.base_prefix or key.startswith(f"{self.base_prefix}/"):
            return key
        return f"{self.base_prefix}/{key}"


def _checked_key(key: str) -> str:
    if "\0" in key:
        raise _unsafe(key, f"a key cannot hold a NUL: {key!r}")
    parts = [part for part in key.split("/") if part]
    if ".." in parts or "." in parts:
        raise _unsafe(key, f"a key cannot have '.' or '..' parts: {key!r}")
    return "/".join(parts)
