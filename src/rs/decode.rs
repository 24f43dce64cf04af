//! Lost shards from those that are left.

use std::ops::Range;

use crate::{
    error::{Error, Result},
    memory,
    pool::Cancel,
    rs::{
        MAX_SHARDS, columns, fft,
        field::{self, Matrix},
        kernel::Kernel,
        shape,
    },
};

/// Makes lost shards: `outputs[i]` becomes shard `wanted[i]`. What is `None` in `shards` is lost.
///
/// Data shards that are there are preferred to parity shards, and only what is wanted is made.
///
/// # Errors
/// [`Error::InvalidInput`] for counts that make no code, for shards and outputs that are empty or of
/// unequal lengths, and for a wanted shard that is not in the list, not lost or wanted twice;
/// [`Error::ComputationFailed`] if fewer than `data_shards` are there; [`Error::Interrupted`].
pub fn reconstruct(
    shards: &[Option<&[u8]>],
    data_shards: usize,
    wanted: &[usize],
    outputs: &mut [&mut [u8]],
    cancel: &Cancel,
) -> Result<()> {
    let survivors = Survivors::of(shards, data_shards)?;
    check_wanted(shards, wanted, outputs, survivors.len)?;
    if let Some(two_steps) = TwoSteps::of(shards, &survivors, wanted) {
        let len = survivors.len;
        return columns::for_each(len, data_shards, outputs, cancel, |range, outputs| {
            two_steps.run(range, outputs);
            Ok(())
        });
    }
    let rows = survivors.rows(wanted.iter().copied());
    let kernel = Kernel::best();
    columns::for_each(
        survivors.len,
        data_shards,
        outputs,
        cancel,
        |range, outputs| {
            kernel.dot(&rows, &survivors.shards, range.start, outputs, false);
            Ok(())
        },
    )
}

/// All lost data shards first, then all parity shards at once: the way where much parity is wanted.
struct TwoSteps<'a> {
    data: &'a [Option<&'a [u8]>],
    survivors: &'a Survivors<'a>,
    /// Those that make the lost data shards, in their order.
    rows: Matrix,
    /// For each lost data shard, then for each parity shard up to the last wanted one: which output it
    /// is, if it is wanted.
    places: Vec<Option<usize>>,
    kernel: Kernel,
    encoder: fft::Encoder,
}

impl<'a> TwoSteps<'a> {
    /// None where it does not pay.
    fn of(
        shards: &'a [Option<&'a [u8]>],
        survivors: &'a Survivors<'a>,
        wanted: &[usize],
    ) -> Option<Self> {
        let k = survivors.indexes.len();
        let m = wanted.iter().max()?.saturating_sub(k - 1);
        let parity = wanted.iter().filter(|&&index| index >= k).count();
        let lost = (0..k).filter(|&index| shards[index].is_none());
        // What is made beside what is wanted should not eat up the gain.
        let unwanted = lost.clone().count() + m - wanted.len();
        let kernel = Kernel::best();
        if parity == 0 || unwanted > parity / 2 || !fft::pays(k, parity, kernel) {
            return None;
        }
        let place = |index| wanted.iter().position(|&one| one == index);
        Some(Self {
            data: &shards[..k],
            survivors,
            rows: survivors.rows(lost.clone()),
            places: lost.chain(k..k + m).map(place).collect(),
            kernel,
            encoder: fft::Encoder::new(k, m, kernel),
        })
    }

    /// Makes the columns `range`, of which `outputs` are those that are wanted.
    fn run(&self, range: Range<usize>, outputs: &mut [&mut [u8]]) {
        let len = range.len();
        let unwanted = self.places.len() - outputs.len();
        let mut memory = memory::take();
        memory.resize(unwanted * len, 0);
        let mut spare = memory.chunks_mut(len);
        let mut outputs: Vec<Option<&mut [u8]>> = outputs
            .iter_mut()
            .map(|output| Some(&mut **output))
            .collect();
        let mut rows: Vec<&mut [u8]> = self
            .places
            .iter()
            .filter_map(|place| match place {
                Some(place) => outputs[*place].take(),
                None => spare.next(),
            })
            .collect();
        let (lost, parity) = rows.split_at_mut(self.rows.rows());
        let inputs = &self.survivors.shards;
        self.kernel
            .dot(&self.rows, inputs, range.start, lost, false);
        let mut lost = lost.iter();
        let data: Vec<&[u8]> = self
            .data
            .iter()
            .filter_map(|shard| match shard {
                Some(shard) => Some(&shard[range.clone()]),
                None => lost.next().map(|shard| &**shard),
            })
            .collect();
        self.encoder.encode(&data, 0, parity);
        memory::give(memory);
    }
}

/// As many shards as there are data shards, to make the others from.
pub struct Survivors<'a> {
    pub indexes: Vec<u8>,
    pub shards: Vec<&'a [u8]>,
    pub len: usize,
}

impl<'a> Survivors<'a> {
    /// The first ones of the list: data shards first, so that few parity shards take part.
    pub fn of(shards: &[Option<&'a [u8]>], data_shards: usize) -> Result<Self> {
        shape::check_list(shards.len(), data_shards)?;
        let present = || {
            let all = shards.iter().enumerate();
            all.filter_map(|(index, shard)| Some((index, (*shard)?)))
        };
        let count = present().count();
        let lens = present().map(|(index, shard)| (index, shard.len()));
        let len = if count == 0 {
            0
        } else {
            shape::common_len(lens)?
        };
        if count < data_shards {
            return Err(Error::ComputationFailed(format!(
                "{count} of {} shards are left, at least {data_shards} are needed",
                shards.len()
            )));
        }
        let (indexes, shards) = present()
            .take(data_shards)
            .map(|(index, shard)| (index as u8, shard))
            .unzip();
        Ok(Self {
            indexes,
            shards,
            len,
        })
    }

    /// The rows that make the shards `wanted`.
    pub fn rows(&self, wanted: impl Iterator<Item = usize>) -> Matrix {
        let wanted: Vec<u8> = wanted.map(|index| index as u8).collect();
        field::decode_rows(&self.indexes, &wanted)
    }
}

fn check_wanted(
    shards: &[Option<&[u8]>],
    wanted: &[usize],
    outputs: &[&mut [u8]],
    len: usize,
) -> Result<()> {
    if wanted.len() != outputs.len() {
        return shape::refuse(format!(
            "{} outputs for {} wanted shards",
            outputs.len(),
            wanted.len()
        ));
    }
    let mut is_wanted = [false; MAX_SHARDS];
    for (&index, output) in wanted.iter().zip(outputs) {
        if let Some(before) = is_wanted.get_mut(index)
            && std::mem::replace(before, true)
        {
            return shape::refuse(format!("shard {index} is wanted twice"));
        }
        match shards.get(index) {
            Some(None) => shape::check_len(
                format_args!("the output for shard {index}"),
                output.len(),
                len,
            )?,
            Some(Some(_)) => return shape::refuse(format!("shard {index} is not lost")),
            None => {
                return shape::refuse(format!(
                    "shard {index} is wanted, the list has {} shards",
                    shards.len()
                ));
            }
        }
    }
    Ok(())
}
