//! Hasher objects in the shape of `hashlib`'s: `Blake3`, `Sha256`, `Keccak256`, `Sha3_256`, `Crc32c`.
//!
//! A small piece is taken in with the GIL held; whatever takes longer, waiting for another thread
//! included, happens without it. Nobody waits for a hasher with the GIL or on the pool, and nobody
//! waits for the GIL with a hasher, so threads can share one.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
};

use pyo3::{PyClass, prelude::*, types::PyBytes};

use super::{
    buffer::Input,
    hash::{length_of, mode_of, work_of},
    output::NewBytes,
    run::{DETACH_FROM, POOL_FROM, run},
    turn::Turns,
};
use crate::{
    error::Error,
    hash::{
        self, Algorithm, DIGEST_LEN,
        blake3::Blake3 as State,
        named::{self, Named, NamedHasher},
    },
};

/// What every hasher can do, as the hash objects of ``hashlib`` do it.
///
/// The digest can be asked for at any time; the message goes on after it. Threads may share a
/// hasher: each piece is taken in as a whole. Hashers do not pickle.
#[pyclass(module = "shardpack.hash", frozen, subclass)]
pub struct Hasher {
    algorithm: Named,
    state: Arc<Mutex<NamedHasher>>,
    turns: Turns,
}

impl Hasher {
    fn new(py: Python<'_>, algorithm: Named, data: Option<Input>) -> PyResult<Self> {
        Self::with_state(py, algorithm, NamedHasher::new(algorithm), data)
    }

    fn with_state(
        py: Python<'_>,
        algorithm: Named,
        state: NamedHasher,
        data: Option<Input>,
    ) -> PyResult<Self> {
        let hasher = Self::at(algorithm, state);
        if let Some(data) = data {
            hasher.take_in(py, data, None)?;
        }
        Ok(hasher)
    }

    fn at(algorithm: Named, state: NamedHasher) -> Self {
        Self {
            algorithm,
            state: Arc::new(Mutex::new(state)),
            turns: Turns::default(),
        }
    }

    /// The object of a class on top of this one.
    fn under<T>(self, class: T) -> PyClassInitializer<T>
    where
        T: PyClass<BaseType = Self>,
    {
        PyClassInitializer::from(self).add_subclass(class)
    }

    fn take_in(&self, py: Python<'_>, data: Input, threads: Option<usize>) -> PyResult<()> {
        let len = data.bytes().len();
        if len < DETACH_FROM {
            self.with(py, |state| state.update(data.bytes()));
            return Ok(());
        }
        let work = work_of(self.algorithm, len, threads);
        let shared = Arc::clone(&self.state);
        if work.weight < POOL_FROM {
            // On this thread, where to ask for signals would be to wait for the GIL.
            return run(py, work, move |_| {
                lock(&shared).update(data.bytes());
                Ok(())
            });
        }
        let mut turn = Some(self.turns.take(py)?);
        run(py, work, move |cancel| {
            let mut state = lock(&shared);
            // An interrupted call must not leave half of its piece behind.
            let mut next = state.clone();
            let result = next.update_long(data.bytes(), cancel);
            if result.is_ok() {
                *state = next;
            }
            drop(state);
            drop(turn.take());
            result
        })
    }

    /// Does something short with the state.
    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut NamedHasher) -> T + Send) -> T {
        match self.state.try_lock() {
            Ok(mut state) => work(&mut state),
            Err(TryLockError::Poisoned(state)) => work(&mut state.into_inner()),
            Err(TryLockError::WouldBlock) => py.detach(|| work(&mut lock(&self.state))),
        }
    }

    fn current(&self, py: Python<'_>) -> NamedHasher {
        self.with(py, |state| state.clone())
    }
}

fn lock(state: &Mutex<NamedHasher>) -> MutexGuard<'_, NamedHasher> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[pymethods]
impl Hasher {
    /// Append to the message.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///
    /// Returns:
    ///     The hasher itself.
    ///
    /// Raises:
    ///     TypeError: ``data`` is no contiguous buffer.
    #[pyo3(signature = (data, /))]
    fn update(slf: Bound<'_, Self>, data: Input) -> PyResult<Bound<'_, Self>> {
        slf.get().take_in(slf.py(), data, None)?;
        Ok(slf)
    }

    /// The digest of the message so far.
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.with(py, |state| state.digest()))
    }

    /// The digest in hexadecimal digits.
    fn hexdigest(&self, py: Python<'_>) -> String {
        hex(&self.with(py, |state| state.digest()))
    }

    /// A hasher that goes on from here on its own.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let twin = Self::at(self.algorithm, self.current(py));
        Ok(match self.algorithm {
            Named::Hash(Algorithm::Blake3) => Bound::new(py, twin.under(Blake3))?.into_any(),
            Named::Hash(Algorithm::Sha256) => Bound::new(py, twin.under(Sha256))?.into_any(),
            Named::Hash(Algorithm::Keccak256) => Bound::new(py, twin.under(Keccak256))?.into_any(),
            Named::Hash(Algorithm::Sha3_256) => Bound::new(py, twin.under(Sha3_256))?.into_any(),
            Named::Crc32c => Bound::new(py, twin.under(Crc32c))?.into_any(),
        })
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let name = slf.get().algorithm.name();
        format!("<{name} hasher at {:#x}>", slf.as_ptr().addr())
    }
}

/// A BLAKE3 message that comes in pieces.
///
/// Args:
///     data: The first piece.
///     key: 32 bytes; the digest is then a message authentication code.
///     context: A constant of the application; the digest is then a key derived from the message.
///
/// Raises:
///     TypeError: ``data`` or ``key`` is no contiguous buffer.
///     InvalidInput: ``key`` has another length, or ``context`` comes with it.
#[pyclass(extends = Hasher, module = "shardpack.hash", frozen)]
pub struct Blake3;

impl Blake3 {
    fn read(hasher: &Bound<'_, Hasher>, length: isize, seek: i128) -> PyResult<Py<PyBytes>> {
        let py = hasher.py();
        let length = length_of(length)?;
        let seek = u64::try_from(seek).map_err(|_| {
            Error::InvalidInput(format!("seek must be from 0 to 2^64 - 1, got {seek}"))
        })?;
        let mut output = NewBytes::new(py, length)?;
        let state = hasher.get().current(py);
        let work = work_of(Named::Hash(Algorithm::Blake3), length, None);
        run(py, work, move |cancel| {
            if let NamedHasher::Hash(hash::Hasher::Blake3(state)) = &state {
                named::read(state, output.bytes_mut(), seek, cancel)?;
            }
            output.finish()
        })
    }
}

#[pymethods]
impl Blake3 {
    #[new]
    #[pyo3(signature = (data=None, /, *, key=None, context=None), text_signature = "(data=b'', /, *, key=None, context=None)")]
    fn new(
        py: Python<'_>,
        data: Option<Input>,
        key: Option<Input>,
        context: Option<String>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let mode = mode_of(key.as_ref(), context)?;
        let state = NamedHasher::Hash(hash::Hasher::Blake3(Box::new(State::new(&mode))));
        let algorithm = Named::Hash(Algorithm::Blake3);
        Ok(Hasher::with_state(py, algorithm, state, data)?.under(Self))
    }

    #[classattr]
    fn name() -> &'static str {
        Algorithm::Blake3.name()
    }

    #[classattr]
    fn digest_size() -> usize {
        DIGEST_LEN
    }

    #[classattr]
    fn block_size() -> usize {
        Algorithm::Blake3.block_len()
    }

    /// Append to the message.
    ///
    /// Args:
    ///     data: Any C-contiguous buffer.
    ///     threads: Threads to use for a long piece; by default see ``thread_count``.
    ///
    /// Returns:
    ///     The hasher itself.
    ///
    /// Raises:
    ///     TypeError: ``data`` is no contiguous buffer.
    #[pyo3(signature = (data, /, *, threads=None))]
    fn update(
        slf: Bound<'_, Self>,
        data: Input,
        threads: Option<usize>,
    ) -> PyResult<Bound<'_, Self>> {
        slf.as_super().get().take_in(slf.py(), data, threads)?;
        Ok(slf)
    }

    /// The output for the message so far.
    ///
    /// Args:
    ///     length: Bytes of output.
    ///     seek: Where in the output to begin; it goes on for 2^64 bytes.
    ///
    /// Returns:
    ///     ``length`` bytes.
    ///
    /// Raises:
    ///     InvalidInput: ``length`` or ``seek`` is negative, or they end beyond 2^64.
    #[pyo3(signature = (length=32, *, seek=0))]
    fn digest(slf: Bound<'_, Self>, length: isize, seek: i128) -> PyResult<Py<PyBytes>> {
        Self::read(slf.as_super(), length, seek)
    }

    /// The output in hexadecimal digits.
    ///
    /// Args:
    ///     length: Bytes of output, half as many as there are digits.
    ///     seek: Where in the output to begin.
    ///
    /// Returns:
    ///     A text of ``2 * length`` digits.
    ///
    /// Raises:
    ///     InvalidInput: ``length`` or ``seek`` is negative, or they end beyond 2^64.
    #[pyo3(signature = (length=32, *, seek=0))]
    fn hexdigest(slf: Bound<'_, Self>, length: isize, seek: i128) -> PyResult<String> {
        let digest = Self::read(slf.as_super(), length, seek)?;
        Ok(hex(digest.as_bytes(slf.py())))
    }
}

/// The parts of a class that differ by nothing but the algorithm.
macro_rules! plain_hasher {
    ($class:ident, $algorithm:expr, $title:literal) => {
        #[doc = $title]
        ///
        /// Args:
        ///     data: The first piece.
        ///
        /// Raises:
        ///     TypeError: ``data`` is no contiguous buffer.
        #[pyclass(extends = Hasher, module = "shardpack.hash", frozen)]
        pub struct $class;

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (data=None, /), text_signature = "(data=b'', /)")]
            fn new(py: Python<'_>, data: Option<Input>) -> PyResult<PyClassInitializer<Self>> {
                Ok(Hasher::new(py, $algorithm, data)?.under(Self))
            }

            #[classattr]
            fn name() -> &'static str {
                $algorithm.name()
            }

            #[classattr]
            fn digest_size() -> usize {
                $algorithm.digest_len()
            }

            #[classattr]
            fn block_size() -> usize {
                $algorithm.block_len()
            }
        }
    };
}

plain_hasher!(
    Sha256,
    Named::Hash(Algorithm::Sha256),
    "A SHA-256 message that comes in pieces."
);
plain_hasher!(
    Keccak256,
    Named::Hash(Algorithm::Keccak256),
    "A Keccak-256 message that comes in pieces."
);
plain_hasher!(
    Sha3_256,
    Named::Hash(Algorithm::Sha3_256),
    "A SHA3-256 message that comes in pieces."
);
plain_hasher!(
    Crc32c,
    Named::Crc32c,
    "A message that comes in pieces, for its CRC32C: four bytes, big-endian."
);
