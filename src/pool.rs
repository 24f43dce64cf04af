//! The thread pools: built on first use, rebuilt after a fork, never Rayon's global one.
//!
//! `fork` copies memory but only the calling thread. A pool that lives in a `OnceLock` therefore
//! says "ready" in the child while its workers are gone, and the first job waits for ever; a lock
//! that another thread held at the moment of the fork stays held. So there is no lock here: the
//! pools form a list behind one atomic pointer, each remembers the generation it was built in, and
//! an `atfork` handler in the child does nothing but raise the generation. Pools of the parent are
//! leaked in the child: dropping one would wait for threads that do not exist.

use std::{
    num::NonZeroUsize,
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Most threads a pool may have; larger wishes are cut to it.
pub const MAX_THREADS: usize = 256;

/// Environment variables that set the default thread count, the first that is set to a positive
/// number wins. Spark sets the last one to 1 for its Python workers.
pub const THREAD_VARIABLES: [&str; 3] = [
    "SHARDPACK_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "OMP_NUM_THREADS",
];

static GENERATION: AtomicU64 = AtomicU64::new(0);
static POOLS: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

struct Node {
    generation: u64,
    threads: usize,
    pool: ThreadPool,
    next: *mut Node,
}

/// A request to stop, shared between the one who waits and the ones who work.
#[derive(Debug, Default)]
pub struct Cancel {
    requested: AtomicBool,
    // For work on the thread that waits: asks whether to go on.
    poll: Option<fn() -> bool>,
}

impl Cancel {
    /// A request that nobody has made yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            requested: AtomicBool::new(false),
            poll: None,
        }
    }

    /// As [`Cancel::new`]; every check asks `stop` too, which must be cheap.
    #[must_use]
    pub const fn polling(stop: fn() -> bool) -> Self {
        Self {
            requested: AtomicBool::new(false),
            poll: Some(stop),
        }
    }

    /// Asks the work to stop at its next check.
    pub fn cancel(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Fails with [`Error::Interrupted`] once [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<()> {
        if self.poll.is_some_and(|stop| stop()) {
            self.cancel();
        }
        if self.requested.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// The default number of threads: the environment, else the cores that this process may use
/// (affinity and cgroup quota).
#[must_use]
pub fn default_threads() -> usize {
    THREAD_VARIABLES
        .iter()
        .find_map(|name| {
            // OpenMP allows a list, one number per nesting level: the first counts.
            let value = std::env::var(name).ok()?;
            value
                .split(',')
                .next()?
                .trim()
                .parse::<usize>()
                .ok()
                .filter(|&n| n > 0)
        })
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
        .min(MAX_THREADS)
}

/// Runs `work` on a pool of `threads` (default: [`default_threads`]) and waits for it.
///
/// Rayon's parallel iterators inside `work` use that pool. On a worker of one of our pools, `work`
/// runs where it is: nested parallelism shares the pool it is in.
pub fn install<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T> {
    if rayon::current_thread_index().is_some() {
        return Ok(work());
    }
    Ok(pool(threads)?.install(work))
}

/// Hands `job` to a pool and returns at once. The job owns all it needs.
pub fn spawn(threads: Option<usize>, job: impl FnOnce() + Send + 'static) -> Result<()> {
    pool(threads)?.spawn(job);
    Ok(())
}

/// Threads of the pool that this code runs in; 1 outside of any.
///
/// Asking Rayon outside of a pool would build its global one, which does not survive a fork.
#[must_use]
pub fn workers() -> usize {
    if rayon::current_thread_index().is_some() {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Initialises what Rayon's queues would initialise behind a lock at their first use.
///
/// If a thread were in the middle of that while another one forks, the lock would stay held in the
/// child and its workers would wait for it for ever. To be called early, before there are threads;
/// costs less than a microsecond and starts none.
pub fn prepare() {
    drop(crossbeam_epoch::pin());
}

fn pool(threads: Option<usize>) -> Result<&'static ThreadPool> {
    let threads = threads
        .unwrap_or_else(default_threads)
        .clamp(1, MAX_THREADS);
    let generation = GENERATION.load(Ordering::Acquire);
    if let Some(pool) = find(generation, threads) {
        return Ok(pool);
    }
    prepare();
    watch_forks();
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("shardpack-{index}"))
        .build()
        .map_err(|error| Error::Backend(format!("cannot start {threads} threads: {error}")))?;
    let node = Box::leak(Box::new(Node {
        generation,
        threads,
        pool,
        next: ptr::null_mut(),
    }));
    // Two threads that race both get a working pool; the loser's is found first from then on. That
    // costs a few idle threads once, where a lock would cost the safety after a fork.
    let mut head = POOLS.load(Ordering::Acquire);
    loop {
        node.next = head;
        match POOLS.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(&node.pool),
            Err(newer) => head = newer,
        }
    }
}

#[expect(unsafe_code, reason = "the list behind the atomic pointer")]
fn find(generation: u64, threads: usize) -> Option<&'static ThreadPool> {
    let mut at = POOLS.load(Ordering::Acquire);
    // SAFETY: every pointer in the list came from `Box::leak` in `pool`, was complete before the
    // release-store that published it, and is never freed or changed afterwards.
    while let Some(node) = unsafe { at.as_ref() } {
        if node.generation == generation && node.threads == threads {
            return Some(&node.pool);
        }
        at = node.next;
    }
    None
}

/// Registers the fork handler, once; a second registration in a race is harmless.
#[expect(unsafe_code, reason = "pthread_atfork is a C function")]
fn watch_forks() {
    static WATCHING: AtomicBool = AtomicBool::new(false);

    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Release);
    }

    if !WATCHING.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec. A
        // failure (out of memory) is ignored: it leaves things as they are without a handler.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}
