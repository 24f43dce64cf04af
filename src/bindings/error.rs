//! Core errors as Python exceptions: one exhaustive match, so that a new variant does not compile
//! until it is mapped. The classes are plain Python (`shardpack/errors.py`).

use pyo3::{IntoPyObjectExt, exceptions::PyKeyboardInterrupt, import_exception, prelude::*};

use crate::error::Error;

import_exception!(shardpack.errors, BackendUnavailable);
import_exception!(shardpack.errors, ComputationFailed);
import_exception!(shardpack.errors, DictionaryError);
import_exception!(shardpack.errors, EncryptedObjectError);
import_exception!(shardpack.errors, InvalidInput);
import_exception!(shardpack.errors, ProofFormatError);
import_exception!(shardpack.errors, S4BackendError);
import_exception!(shardpack.errors, S4CrcMismatchError);
import_exception!(shardpack.errors, S4Error);
import_exception!(shardpack.errors, S4FrameError);
import_exception!(shardpack.errors, S4IndexError);
import_exception!(shardpack.errors, S4IoError);
import_exception!(shardpack.errors, S4ManifestSizeExceedsLimitError);
import_exception!(shardpack.errors, S4ManifestSizeMismatchError);
import_exception!(shardpack.errors, S4SizeMismatchError);
import_exception!(shardpack.errors, UnsupportedCodecError);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        to_python(error, text)
    }
}

/// The error of one record of many.
pub fn of_record((index, error): (usize, Error)) -> PyErr {
    let text = format!("record {index}: {error}");
    to_python(error, text)
}

fn to_python(error: Error, text: String) -> PyErr {
    match error {
        Error::Decode { .. } | Error::Bomb { .. } => S4IoError::new_err(text),
        Error::SizeMismatch { expected, actual } => with_facts(
            S4SizeMismatchError::new_err(text),
            [("expected", expected), ("actual", actual)],
        ),
        Error::CrcMismatch { expected, actual } => with_facts(
            S4CrcMismatchError::new_err(text),
            [("expected", expected), ("actual", actual)],
        ),
        Error::ClaimExceedsLimit { requested, limit } => {
            let error = S4ManifestSizeExceedsLimitError::new_err(text);
            with_facts(error, [("requested", requested), ("limit", limit)])
        }
        Error::ManifestSizeMismatch {
            expected, actual, ..
        } => {
            let error = S4ManifestSizeMismatchError::new_err(text);
            with_facts(error, [("expected", expected), ("actual", actual)])
        }
        Error::Frame(_) => S4FrameError::new_err(text),
        Error::Index(_) => S4IndexError::new_err(text),
        Error::Backend(_) | Error::Fcg1(_) => S4BackendError::new_err(text),
        Error::UnsupportedCodec { codec } => with_facts(
            UnsupportedCodecError::new_err(text),
            [("codec", codec.name())],
        ),
        Error::UnwritableCodec { codec } => {
            with_facts(UnsupportedCodecError::new_err(text), [("codec", codec)])
        }
        Error::Encrypted { .. } => EncryptedObjectError::new_err(text),
        Error::Dictionary { id, .. } => {
            with_facts(DictionaryError::new_err(text), [("dict_id", id)])
        }
        Error::Metadata { .. } | Error::DestinationTooSmall { .. } | Error::Argument(_) => {
            S4Error::new_err(text)
        }
        Error::InvalidInput(_) => InvalidInput::new_err(text),
        Error::ComputationFailed(_) => ComputationFailed::new_err(text),
        Error::ProofFormat(_) => ProofFormatError::new_err(text),
        Error::Unavailable(_) => BackendUnavailable::new_err(text),
        Error::Interrupted => PyKeyboardInterrupt::new_err(text),
    }
}

/// Facts become attributes; they pickle with the exception, whose `args` hold its text alone.
fn with_facts<T>(error: PyErr, facts: impl IntoIterator<Item = (&'static str, T)>) -> PyErr
where
    T: for<'py> IntoPyObjectExt<'py>,
{
    Python::attach(|py| {
        for (name, value) in facts {
            let set = value
                .into_py_any(py)
                .and_then(|value| error.value(py).setattr(name, value));
            if let Err(problem) = set {
                return problem;
            }
        }
        error
    })
}
