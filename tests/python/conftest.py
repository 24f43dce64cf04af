"""Settings of the test run: hypothesis profiles, and what a debug build leaves out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from inputs import DEBUG_BUILD
from iteration_threads import wait_until_none_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["servers", "store_places", "exchange_stores"]

# No example database: a test run leaves nothing behind in the repository.
settings.register_profile(
    "fast",
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "slow",
    max_examples=1000,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("SHARDPACK_HYPOTHESIS", "fast"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not DEBUG_BUILD:
        return
    skip = pytest.mark.skip(reason="handles too many bytes for an unoptimised build")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_thread_of_an_iteration_is_left() -> Iterator[None]:
    """Every test ends its iterations, so that the next can say which threads it sees."""
    yield
    wait_until_none_runs()
