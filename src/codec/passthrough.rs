//! The codec that stores bytes as they are.

use super::{
    Codec, CodecKind, Piece,
    stream::{self, Verbatim},
};
use crate::{
    error::{Error, Result},
    pool::Cancel,
};

/// The codec `passthrough`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passthrough;

impl Codec for Passthrough {
    fn kind(&self) -> CodecKind {
        CodecKind::Passthrough
    }

    fn compress_bound(&self, len: usize) -> usize {
        len
    }

    fn compress_into(&self, src: &[u8], dst: &mut [u8], _: &Cancel) -> Result<usize> {
        let capacity = dst.len() as u64;
        dst.get_mut(..src.len())
            .ok_or(Error::DestinationTooSmall {
                capacity,
                needed: src.len() as u64,
            })?
            .copy_from_slice(src);
        Ok(src.len())
    }

    fn decompress_bound(&self, payload: &[u8]) -> Result<u64> {
        Ok(payload.len() as u64)
    }

    fn decompress_into(&self, payload: &[u8], dst: &mut [u8], _: &Cancel) -> Result<usize> {
        let expected = dst.len() as u64;
        dst.get_mut(..payload.len())
            .ok_or(Error::SizeMismatch {
                expected,
                actual: payload.len() as u64,
            })?
            .copy_from_slice(payload);
        Ok(payload.len())
    }

    fn stated_len(&self, record: &[u8]) -> Option<usize> {
        Some(record.len())
    }

    fn pieces<'a>(&self, stream: &'a [u8]) -> Result<Vec<Piece<'a>>> {
        Ok(vec![Piece {
            stored: stream,
            original_len: Some(stream.len() as u64),
            guessed: false,
        }])
    }

    fn decompress_all(
        &self,
        stream: &[u8],
        out: &mut Vec<u8>,
        limit: u64,
        _: &Cancel,
    ) -> Result<()> {
        super::check_limit(out.len() as u64 + stream.len() as u64, limit)?;
        out.extend_from_slice(stream);
        Ok(())
    }

    fn compressor(&self) -> Result<Box<dyn stream::Compress>> {
        Ok(Box::new(Verbatim))
    }

    fn decompressor(&self) -> Result<Box<dyn stream::Decompress>> {
        Ok(Box::new(Verbatim))
    }
}
