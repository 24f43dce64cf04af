//! Where native work runs, and how it is waited for.
//!
//! | work | runs | GIL |
//! |---|---|---|
//! | tiny | here | held: releasing it costs more than the work |
//! | short | here | released; now and then this thread looks for signals |
//! | long, or on several threads | on the pool | released; this thread wakes up to look for signals |
//!
//! On Ctrl-C the work is told to stop. What cannot stop soon (one libdeflate call) is left to finish
//! on its pool thread: the job owns everything it touches, so nobody has to wait for it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use pyo3::prelude::*;

use crate::{
    error::Result,
    pool::{self, Cancel},
};

/// Below this many bytes the GIL is kept: giving it up and getting it back costs about as much.
pub const DETACH_FROM: usize = 2048;
/// From this many bytes (a few milliseconds of decoding) work goes to the pool.
pub const POOL_FROM: usize = 4 << 20;
/// How often a waiting thread looks for signals.
const SIGNAL_PERIOD: Duration = Duration::from_millis(50);
/// How long interrupted work may take to stop before it is left alone.
const STOP_PERIOD: Duration = Duration::from_millis(200);

/// Bytes of compression count this often against the thresholds above, which are for decoding.
pub const COMPRESS_WEIGHT: usize = 16;

/// How much work a job is, and on how many threads it may run.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Roughly the bytes that are touched, as a decoder would touch them.
    pub weight: usize,
    /// The caller's wish; `None` for the default.
    pub threads: Option<usize>,
}

impl Work {
    /// Work of decoding or copying `len` bytes.
    pub const fn decode(len: usize) -> Self {
        Self {
            weight: len,
            threads: None,
        }
    }

    /// Work of compressing `len` bytes.
    pub const fn compress(len: usize) -> Self {
        Self {
            weight: len.saturating_mul(COMPRESS_WEIGHT),
            threads: None,
        }
    }

    /// The same work on the given number of threads.
    pub const fn on(self, threads: Option<usize>) -> Self {
        Self { threads, ..self }
    }
}

/// Runs `job` where it belongs and waits for it.
///
/// The job owns what it works on and is dropped here, with the GIL held, after its last call: a
/// Python reference that is dropped without the GIL goes through a lock of PyO3, and a lock that is
/// held while another thread forks stays held in the child.
///
/// # Errors
/// What the job returns, or the exception that a signal handler raised (`KeyboardInterrupt`).
pub fn run<T, F>(py: Python<'_>, work: Work, job: F) -> PyResult<T>
where
    T: Send + 'static,
    F: FnMut(&Cancel) -> Result<T> + Send + 'static,
{
    run_for(py, work, job)?.map_err(PyErr::from)
}

/// As [`run`] for jobs with a result of their own.
pub fn run_for<T, F>(py: Python<'_>, work: Work, mut job: F) -> PyResult<T>
where
    T: Send + 'static,
    F: FnMut(&Cancel) -> T + Send + 'static,
{
    if work.weight < DETACH_FROM {
        return Ok(job(&Cancel::new()));
    }
    if work.weight < POOL_FROM {
        let value = py.detach(|| job(&Cancel::polling(signal_came)));
        return SIGNAL.take().map_or(Ok(value), Err);
    }
    let shared = Arc::new(Shared {
        cancel: Cancel::new(),
        outcome: Mutex::new(None),
        ready: Condvar::new(),
    });
    let theirs = Arc::clone(&shared);
    pool::spawn(work.threads, move || {
        // A panic must not unwind into the pool, which would abort the process.
        let result = catch_unwind(AssertUnwindSafe(|| job(&theirs.cancel)));
        theirs.finish(Outcome {
            result,
            _job: Box::new(job),
        });
    })?;
    loop {
        if let Some(outcome) = py.detach(|| shared.wait(SIGNAL_PERIOD)) {
            return outcome.result.map_err(|panic| resume_unwind(panic));
        }
        if let Err(signal) = py.check_signals() {
            shared.cancel.cancel();
            drop(py.detach(|| shared.wait(STOP_PERIOD)));
            return Err(signal);
        }
    }
}

thread_local! {
    /// The exception of a signal handler that ran while this thread was at work.
    static SIGNAL: Cell<Option<PyErr>> = const { Cell::new(None) };
    /// When this thread looked for signals.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Looks for signals now and then, for work that is short by its weight and turns out long: a few
/// bytes may decode to a gigabyte.
fn signal_came() -> bool {
    let now = Instant::now();
    match LOOKED.get() {
        Some(last) if now.duration_since(last) < SIGNAL_PERIOD => return false,
        _ => LOOKED.set(Some(now)),
    }
    let signal = Python::try_attach(|py| py.check_signals().err()).flatten();
    let came = signal.is_some();
    SIGNAL.set(signal);
    came
}

/// What is left of a job: its result, and what it owned.
struct Outcome<T> {
    result: thread::Result<T>,
    _job: Box<dyn Send>,
}

struct Shared<T> {
    cancel: Cancel,
    outcome: Mutex<Option<Outcome<T>>>,
    ready: Condvar,
}

impl<T> Shared<T> {
    fn finish(&self, outcome: Outcome<T>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.ready.notify_one();
    }

    fn wait(&self, period: Duration) -> Option<Outcome<T>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut outcome, _) = self
            .ready
            .wait_timeout_while(outcome, period, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }
}

impl<T> Drop for Shared<T> {
    /// Drops what nobody waited for, with the GIL held.
    fn drop(&mut self) {
        let outcome = self
            .outcome
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(outcome) = outcome {
            let mut outcome = Some(outcome);
            Python::try_attach(|_| drop(outcome.take()));
            // Without an interpreter there is nothing left that the references could keep alive.
            std::mem::forget(outcome);
        }
    }
}
