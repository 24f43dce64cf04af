"""Processes: no thread at import, work after every kind of fork, the size of the pool."""

from __future__ import annotations

import os
import sys

import pytest

from inputs import run_python

COMMON = """
import os, sys, threading, multiprocessing, time, warnings
from shardpack import CpuGzip, CpuZstd, crc32c, encode_object, decode_object, thread_count

# From 3.12 on Python warns of any fork in a process with threads; that is what is tested here.
warnings.filterwarnings("ignore", category=DeprecationWarning)
DATA = b"".join(b"%08d the same work in every process\\n" % i for i in range(120_000))
RECORDS = [DATA[i * 500 : i * 500 + 500] for i in range(2000)]

def native_threads():
    return len(os.listdir("/proc/self/task"))

def work(_=0):
    made = encode_object(DATA, "cpu-zstd", 1, 200_000)
    assert decode_object(made["body"], made["metadata"]) == DATA
    stored = CpuZstd(1).compress_many(RECORDS)
    assert CpuZstd().decompress_many(stored) == RECORDS
    return crc32c(made["body"])

def in_fork(function):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return child

def finished(child, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, f"child ended with {status}"
            return
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    print("the forked child hangs", file=sys.stderr, flush=True)
    os._exit(1)
"""
# Enough threads to need a pool, also on a machine with one core.
POOL: dict[str, str | None] = {
    "SHARDPACK_NUM_THREADS": "3",
    "RAYON_NUM_THREADS": None,
    "OMP_NUM_THREADS": None,
}

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="counts threads in /proc"
)


def test_no_thread_at_import() -> None:
    code = COMMON + "print(native_threads()); work(); print(native_threads() > 1)"
    assert run_python(code, POOL).split() == ["1", "True"]


def test_small_calls_start_no_thread() -> None:
    code = COMMON + (
        "made = CpuZstd().compress(b'hello'); CpuZstd().decompress(*made);"
        "CpuGzip().compress(b'hello'); encode_object(b'hello'); print(native_threads())"
    )
    assert run_python(code, POOL) == "1"


def test_a_fork_after_use_works() -> None:
    assert run_python(COMMON + "work(); finished(in_fork(work)); print(work() > 0)", POOL) == "True"


def test_a_fork_before_use_works() -> None:
    assert run_python(COMMON + "finished(in_fork(work)); print(work() > 0)", POOL) == "True"


def test_nested_forks_work() -> None:
    code = COMMON + (
        "work()\n"
        "def child():\n"
        "    work()\n"
        "    finished(in_fork(lambda: (work(), finished(in_fork(work)))))\n"
        "    work()\n"
        "finished(in_fork(child)); print(work() > 0)"
    )
    assert run_python(code, POOL) == "True"


def test_a_child_that_does_not_compress_ends_at_once() -> None:
    assert (
        run_python(COMMON + "work(); finished(in_fork(lambda: None)); print('fine')", POOL)
        == "fine"
    )


@pytest.mark.timeout(120)
def test_forks_while_three_threads_use_the_pool() -> None:
    code = (
        COMMON
        + """
stop = threading.Event()
failures = []

def hammer():
    try:
        while not stop.is_set():
            stored = CpuZstd(1).compress_many(RECORDS)
            assert CpuZstd().decompress_many(stored) == RECORDS
    except BaseException as error:
        failures.append(error)

def child():
    stored = CpuZstd(1).compress_many(RECORDS)
    assert CpuZstd().decompress_many(stored) == RECORDS

threads = [threading.Thread(target=hammer, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(50):
    finished(in_fork(child))
stop.set()
for thread in threads:
    thread.join()
assert not failures, failures
print("fine")
"""
    )
    assert run_python(code, POOL, timeout_s=110) == "fine"


def test_forks_while_the_pool_is_being_built() -> None:
    code = (
        COMMON
        + """
for _ in range(20):
    def attempt():
        thread = threading.Thread(target=lambda: CpuZstd(1).compress_many(RECORDS))
        thread.start()
        grandchild = in_fork(lambda: CpuZstd(1).compress_many(RECORDS))
        thread.join()
        finished(grandchild)
    finished(in_fork(attempt))
print("fine")
"""
    )
    assert run_python(code, POOL) == "fine"


def test_streams_survive_a_fork() -> None:
    code = (
        COMMON
        + """
work()
stream = CpuZstd(1).compressor()
head = stream.compress(DATA)
def child():
    assert CpuZstd().decompress_all(head + stream.flush()) == DATA
finished(in_fork(child))
child()
print("fine")
"""
    )
    assert run_python(code, POOL) == "fine"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_process_pools_of_every_kind_work(method: str, tmp_path: os.PathLike[str]) -> None:
    script = os.path.join(tmp_path, "job.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(
            COMMON
            + f"""
def main():
    expected = work()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(work, range(4), chunksize=1) == [expected] * 4
        stored = pool.map(CpuZstd(3).compress, RECORDS[:50])
        assert stored == [CpuZstd(3).compress(record) for record in RECORDS[:50]]
    print("fine")

if __name__ == "__main__":
    main()
"""
        )
    # Children import the main module by its path, so the script must be the main module.
    code = f"import os, sys; os.execv(sys.executable, [sys.executable, {script!r}])"
    assert run_python(code, POOL) == "fine"


UNSET: dict[str, str | None] = dict.fromkeys(POOL)


def count(**changes: str) -> int:
    code = "import shardpack; print(shardpack.thread_count())"
    return int(run_python(code, {**UNSET, **changes}))


def test_the_environment_sets_the_size_in_order() -> None:
    assert count(OMP_NUM_THREADS="3") == 3
    assert count(OMP_NUM_THREADS="3", RAYON_NUM_THREADS="4") == 4
    assert count(OMP_NUM_THREADS="3", RAYON_NUM_THREADS="4", SHARDPACK_NUM_THREADS="5") == 5
    assert count(OMP_NUM_THREADS="1") == 1


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "2.5", " ", "99999999999999999999"])
def test_a_setting_that_is_no_count_is_passed_over(value: str) -> None:
    assert count(SHARDPACK_NUM_THREADS=value, OMP_NUM_THREADS="3") == 3
    assert count(RAYON_NUM_THREADS=value, OMP_NUM_THREADS="3") == 3


def test_a_list_for_nested_teams_counts_by_its_first() -> None:
    # OpenMP allows "4,2" for nested regions.
    assert count(OMP_NUM_THREADS="3,2") in {3, count()}


def test_affinity_is_the_default() -> None:
    cores = len(os.sched_getaffinity(0))
    assert 1 <= count() <= cores
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "import shardpack; print(shardpack.thread_count())"
    )
    assert run_python(code, UNSET) == "1"


def test_one_thread_is_no_pool() -> None:
    code = COMMON + "work(); print(native_threads())"
    assert int(run_python(code, {**POOL, "SHARDPACK_NUM_THREADS": "1"})) <= 2


def test_the_argument_wins_over_the_environment() -> None:
    code = (
        COMMON
        + """
most = 0
done = threading.Event()

def watch():
    global most
    while not done.is_set():
        most = max(most, native_threads())
        time.sleep(0.0005)

watcher = threading.Thread(target=watch)
watcher.start()
encode_object(DATA, "cpu-zstd", 9, 100_000, threads=4)
done.set()
watcher.join()
print(most)
"""
    )
    # The main thread, the one that watches, and some of the four.
    assert int(run_python(code, {**POOL, "SHARDPACK_NUM_THREADS": "1"})) >= 4
