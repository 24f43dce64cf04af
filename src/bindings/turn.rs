//! Turns at an object that jobs on the pool work on.
//!
//! A worker that waits for the other half of its job takes up whatever job is queued. If that one
//! waits for a lock that this very worker holds, it waits for ever. So a job that locks an object
//! is queued only when it is the object's turn: nobody waits for the lock on the pool then.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::prelude::*;

/// How often a waiting thread looks for signals.
const SIGNAL_PERIOD: Duration = Duration::from_millis(50);

/// Who is next at one object.
#[derive(Default)]
pub struct Turns(Arc<Gate>);

/// A turn; it ends when it is dropped. A job drops it as the last thing it does, so that the next
/// one need not wait for the thread that waits for the job.
pub struct Turn(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_taken: Mutex<bool>,
    free: Condvar,
}

impl Turns {
    /// Waits, if it has to, without the GIL, and looks for signals meanwhile.
    pub fn take(&self, py: Python<'_>) -> PyResult<Turn> {
        if !self.0.take(Duration::ZERO) {
            while !py.detach(|| self.0.take(SIGNAL_PERIOD)) {
                py.check_signals()?;
            }
        }
        Ok(Turn(Arc::clone(&self.0)))
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, period: Duration) -> bool {
        let (mut is_taken, _) = self
            .free
            .wait_timeout_while(self.lock(), period, |is_taken| *is_taken)
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *is_taken, true)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.free.notify_one();
    }
}
