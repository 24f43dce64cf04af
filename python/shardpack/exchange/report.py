"""Reports as values that JSON can hold."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

__all__ = ["Report"]


class Report:
    """What a call found or did: a frozen dataclass, which can be told as JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the fields, by name, as values that JSON can hold.

        Returns:
            The fields: what stands in them is a dict too, with the names of its fields; tuples are
            lists, times are text in the form of ISO 8601, and an error is its ``type`` and
            ``message``.
        """
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:  # noqa: ANN401 - the values of any field
    if isinstance(value, Report):
        return value.to_dict()
    # What has fields, and is no report, is a named tuple.
    value = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    return value.isoformat() if isinstance(value, datetime) else value
