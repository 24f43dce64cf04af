//! Many records in one call: from a sequence to a list, from Arrow to Arrow.

use std::sync::Arc;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};

use super::{
    array::{self, BinaryArray},
    error::of_record,
    output::NewBytes,
    run::{COMPRESS_WEIGHT, Work, run, run_for},
    source::Source,
};
use crate::{
    codec::{Codec, record},
    error::Error,
    memory,
    pool::{self, Cancel},
};

type Runs = Result<Vec<record::Run>, (usize, Error)>;

/// A record costs at least this much, however short it is.
const RECORD_WEIGHT: usize = 64;

pub fn compress_many<'py>(
    py: Python<'py>,
    codec: Arc<dyn Codec>,
    records: &Bound<'py, PyAny>,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = Arc::new(Source::new(records)?);
    each(
        py,
        source,
        threads,
        COMPRESS_WEIGHT,
        move |records, cancel| record::compress_many(&*codec, records, cancel),
    )
}

pub fn decompress_many<'py>(
    py: Python<'py>,
    codec: Arc<dyn Codec>,
    records: &Bound<'py, PyAny>,
    limit: u64,
    threads: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = Arc::new(Source::new(records)?);
    let lens = py.detach(|| record::stated_lens(&*codec, source.slices(), limit));
    if let Some(lens) = lens
        && let Some(result) = in_place(py, Arc::clone(&codec), Arc::clone(&source), lens, threads)?
    {
        return Ok(result);
    }
    // Decoders write several times what they read.
    each(py, source, threads, 4, move |records, cancel| {
        record::decompress_many(&*codec, records, limit, cancel)
    })
}

/// Decodes records that state their lengths to where they stay: new `bytes` objects, or the one
/// buffer of an Arrow array. `None` if one of them states another length than it has.
fn in_place(
    py: Python<'_>,
    codec: Arc<dyn Codec>,
    source: Arc<Source>,
    lens: Vec<usize>,
    threads: Option<usize>,
) -> PyResult<Option<Bound<'_, PyAny>>> {
    let weight = lens.iter().sum::<usize>() + lens.len() * RECORD_WEIGHT;
    let work = Work {
        weight: pooled(weight, threads),
        threads,
    };
    if source.is_arrow() {
        let array = run(py, work, move |cancel| {
            let records = source.slices();
            let mut values = memory::zeroed(lens.iter().sum());
            let places = split(&mut values, &lens);
            if !record::decompress_into(&*codec, records, places, cancel)? {
                return Ok(None);
            }
            let lens = lens
                .iter()
                .zip(records)
                .map(|(&len, record)| record.map(|_| len))
                .collect();
            array::from_runs(vec![record::Run {
                bytes: values,
                lens,
            }])
            .map(Some)
        })?;
        return array
            .map(|array| Ok(Bound::new(py, BinaryArray::from(array))?.into_any()))
            .transpose();
    }
    let mut outputs = Vec::with_capacity(lens.len());
    for &len in &lens {
        outputs.push(NewBytes::new(py, len)?);
    }
    let values = run(py, work, move |cancel| {
        let records = source.slices();
        let places: Vec<&mut [u8]> = outputs.iter_mut().map(NewBytes::bytes_mut).collect();
        if !record::decompress_into(&*codec, records, places, cancel)? {
            return Ok(None);
        }
        let values = outputs.iter_mut().zip(records);
        values
            .map(|(output, record)| record.map(|_| output.finish()).transpose())
            .collect::<crate::Result<Vec<_>>>()
            .map(Some)
    })?;
    values
        .map(|values| Ok(PyList::new(py, values)?.into_any()))
        .transpose()
}

/// Cuts `values` into places of the given lengths, which add up to its own.
fn split<'a>(mut values: &'a mut [u8], lens: &[usize]) -> Vec<&'a mut [u8]> {
    let mut places = Vec::with_capacity(lens.len());
    for &len in lens {
        let (place, rest) = values.split_at_mut(len);
        places.push(place);
        values = rest;
    }
    places
}

fn each(
    py: Python<'_>,
    source: Arc<Source>,
    threads: Option<usize>,
    weight: usize,
    mut work: impl FnMut(&[Option<&[u8]>], &Cancel) -> Runs + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    let weight = source.len().saturating_mul(weight);
    let is_arrow = source.is_arrow();
    let job = move |cancel: &Cancel| work(source.slices(), cancel);
    let weight = pooled(weight, threads);
    let runs = run_for(py, Work { weight, threads }, job)?;
    let runs = runs.map_err(of_record)?;
    if is_arrow {
        let array = py.detach(|| array::from_runs(runs))?;
        Ok(Bound::new(py, BinaryArray::from(array))?.into_any())
    } else {
        to_list(py, &runs).map(Bound::into_any)
    }
}

/// The weight of a batch, such that it goes to the pool where several threads can share it: that is
/// worth it long before signals matter.
pub fn pooled(weight: usize, threads: Option<usize>) -> usize {
    let parallel = weight >= PARALLEL_FROM && threads.unwrap_or_else(pool::default_threads) > 1;
    if parallel { POOLED } else { weight }
}

/// Weight from which a batch goes to the pool.
const PARALLEL_FROM: usize = 1 << 20;
/// A weight that surely goes to the pool.
const POOLED: usize = usize::MAX;

fn to_list<'py>(py: Python<'py>, runs: &[record::Run]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for run in runs {
        let mut rest = run.bytes.as_slice();
        for &len in &run.lens {
            match len {
                None => list.append(py.None())?,
                Some(len) => {
                    let (record, after) = rest.split_at(len);
                    list.append(PyBytes::new(py, record))?;
                    rest = after;
                }
            }
        }
    }
    Ok(list)
}
