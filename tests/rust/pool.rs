//! The thread pools: they work, they nest, and they survive a fork.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use shardpack::{
    Error, checksum,
    codec::CpuZstd,
    frame::{read, write},
    pool::{self, Cancel, MAX_THREADS},
};

use crate::vectors::{decoding, make};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn work_runs_on_as_many_threads_as_asked_for() {
    for threads in 1..=4 {
        let (count, name) = pool::install(Some(threads), || {
            (pool::workers(), thread::current().name().map(str::to_owned))
        })
        .unwrap();
        assert_eq!(count, threads);
        assert!(name.unwrap().starts_with("shardpack-"));
    }
    assert_eq!(pool::workers(), 1, "outside of any pool");
}

#[test]
fn absurd_thread_counts_are_cut() {
    assert_eq!(pool::install(Some(0), pool::workers), Ok(1));
    assert_eq!(
        pool::install(Some(usize::MAX), pool::workers),
        Ok(MAX_THREADS)
    );
    assert!((1..=MAX_THREADS).contains(&pool::default_threads()));
    assert_eq!(
        pool::install(None, pool::workers),
        Ok(pool::default_threads())
    );
}

#[test]
fn a_pool_is_built_once() {
    let ids = || pool::install(Some(3), || rayon::broadcast(|_| thread::current().id())).unwrap();
    // Two tests that race may build it twice; after that it is found.
    ids();
    assert_eq!(ids(), ids());
}

#[test]
fn nested_work_stays_on_the_pool_that_it_is_in() {
    let outer = pool::install(Some(2), || {
        let id = thread::current().id();
        let inner = pool::install(Some(4), || (pool::workers(), thread::current().id())).unwrap();
        assert_eq!(inner, (2, id));
        (0..100_u64)
            .into_par_iter()
            .map(|n| pool::install(None, || (0..n).into_par_iter().sum::<u64>()).unwrap())
            .sum::<u64>()
    });
    assert_eq!(outer, Ok((0..100).map(|n| n * (n.max(1) - 1) / 2).sum()));
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
    let result = std::panic::catch_unwind(|| {
        pool::install(Some(2), || {
            std::panic::resume_unwind(Box::new("on purpose"))
        })
    });
    let payload = result.map(|_: Result<(), Error>| ()).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(pool::install(Some(2), || 5), Ok(5));
}

#[test]
fn spawned_jobs_run_without_being_waited_for() {
    let (send, receive) = mpsc::channel();
    for number in 0..50 {
        let send = send.clone();
        pool::spawn(Some(2), move || {
            send.send((number, pool::workers())).unwrap();
        })
        .unwrap();
    }
    let mut numbers: Vec<_> = (0..50)
        .map(|_| receive.recv_timeout(PATIENCE).unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((0..50).map(|number| (number, 2))));
}

#[test]
fn a_request_to_stop_is_seen_by_all_who_share_it() {
    let cancel = Arc::new(Cancel::new());
    assert_eq!(cancel.check(), Ok(()));
    let (send, receive) = mpsc::channel();
    let shared = Arc::clone(&cancel);
    pool::spawn(Some(2), move || {
        while shared.check().is_ok() {
            thread::yield_now();
        }
        send.send(shared.check()).unwrap();
    })
    .unwrap();
    cancel.cancel();
    assert_eq!(receive.recv_timeout(PATIENCE), Ok(Err(Error::Interrupted)));
    assert_eq!(cancel.check(), Err(Error::Interrupted));
}

/// Everything that uses the pool: an iterator, a checksum, frames there and back, a spawned job.
/// No panics in here: it also runs in a child, which must not write to the captured output.
fn pool_works() -> bool {
    let bytes = make("lines", "fork", 300_000);
    let codec = CpuZstd::new(1, false);
    let frames = pool::install(Some(3), || {
        let sum: u64 = (0..1000_u64).into_par_iter().sum();
        let body = write::encode_frames(&codec, &bytes, 20_000, &Cancel::new());
        (sum, checksum::crc32c_parallel(&bytes, 0), body)
    });
    let Ok((499_500, crc32c, Ok(body))) = frames else {
        return false;
    };
    let joined = body.frames.concat();
    let Ok(frames) = read::read_frames(&joined) else {
        return false;
    };
    let mut decoded = vec![0; bytes.len()];
    let result = pool::install(None, || {
        read::decode_frames(&frames, &mut decoded, decoding())
    });
    let done = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&done);
    let spawned = pool::spawn(Some(2), move || mark.store(true, Ordering::Release));
    let start = Instant::now();
    while !done.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    result == Ok(Ok(()))
        && spawned == Ok(())
        && body.crc32c == crc32c
        && decoded == bytes
        && done.load(Ordering::Acquire)
}

/// Forks, runs `work` in the child, and tells whether the child said yes in time.
#[expect(unsafe_code, reason = "fork, waitpid and kill are C functions")]
fn in_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `work` on its only thread, unwinds nowhere and ends with `_exit`, so
    // neither the test harness nor any exit handler runs twice. Left over: a lock of the C or Rust
    // library that another thread held; glibc's allocator takes care of its own.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let yes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(i32::from(!yes)) };
    }
    assert!(child > 0, "cannot fork");
    let start = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: `status` is live for the call, and `child` is a child that nobody else waits for.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if start.elapsed() > PATIENCE {
            // SAFETY: the child has not been waited for, so its id is still its own.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn pools_work_in_a_child_of_a_process_that_used_them() {
    assert!(pool_works());
    for _ in 0..5 {
        assert!(in_child(pool_works));
    }
    assert!(pool_works(), "the parent after its children");
}

#[test]
fn pools_work_in_the_child_of_a_child() {
    assert!(pool_works());
    assert!(in_child(
        || pool_works() && in_child(|| pool_works() && in_child(pool_works))
    ));
}

#[test]
fn a_child_that_was_forked_in_the_midst_of_work_has_pools_of_its_own() {
    let busy = Arc::new(AtomicBool::new(true));
    let running = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (busy, running) = (Arc::clone(&busy), Arc::clone(&running));
        // A size that no other test uses: they would wait for these jobs.
        pool::spawn(Some(5), move || {
            running.fetch_add(1, Ordering::Relaxed);
            while busy.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        })
        .unwrap();
    }
    let start = Instant::now();
    while running.load(Ordering::Relaxed) < 2 && start.elapsed() < PATIENCE {
        thread::yield_now();
    }
    let fine = in_child(pool_works);
    busy.store(false, Ordering::Relaxed);
    assert!(fine);
}
