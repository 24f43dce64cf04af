//! Large memory: huge pages for what is touched the first time, and buffers that are used again.
//!
//! A fresh page of 4 KiB costs more to touch than to decode into, so a result of many megabytes
//! spends more time in page faults than in the codec. Pages of 2 MiB fault 512 times less often;
//! memory that was used before does not fault at all.

use std::sync::Mutex;

/// From this length on huge pages are worth asking for.
const HUGE_FROM: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;

/// Asks the kernel for huge pages under `len` bytes at `start`. Only a hint: nothing else changes.
#[expect(unsafe_code, reason = "madvise is a C function")]
pub fn prefer_huge_pages(start: *mut u8, len: usize) {
    let skip = start.align_offset(HUGE_PAGE);
    if cfg!(target_os = "linux") && len >= HUGE_FROM && skip < len {
        let whole = (len - skip) / HUGE_PAGE * HUGE_PAGE;
        // SAFETY: the advice does not change what memory holds or who may access it; on a range that
        // is not mapped the call fails, which is ignored.
        unsafe { libc::madvise(start.wrapping_add(skip).cast(), whole, libc::MADV_HUGEPAGE) };
    }
}

/// `len` zero bytes, untouched so far, on huge pages where that pays.
#[must_use]
pub fn zeroed(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    prefer_huge_pages(bytes.as_mut_ptr(), len);
    bytes
}

/// Buffers that wait for their next use, and how much of them is kept at most.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const SPARE_COUNT: usize = 64;
const SPARE_LEN: usize = 1 << 20;

/// An empty buffer, with memory from an earlier use if there is some.
#[must_use]
pub fn take() -> Vec<u8> {
    // Never waits: a thread that held this lock at the moment of a fork holds it in the child for
    // ever, where every buffer is new then.
    SPARE
        .try_lock()
        .ok()
        .and_then(|mut spare| spare.pop())
        .unwrap_or_default()
}

/// Keeps the memory of a buffer that is not needed any more for [`take`].
pub fn give(mut buffer: Vec<u8>) {
    if (1..=SPARE_LEN).contains(&buffer.capacity())
        && let Ok(mut spare) = SPARE.try_lock()
        && spare.len() < SPARE_COUNT
    {
        buffer.clear();
        spare.push(buffer);
    }
}
