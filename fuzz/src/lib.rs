//! What the fuzz targets share: the bound on memory.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of memory that one byte from a peer may cost: the smallest parts of a message (an empty string, a type, a
/// boolean in a vector) are a byte or two on the wire, and some dozen in memory, twice while a vector grows.
pub const PER_BYTE: usize = 256;

/// What an empty message may cost.
pub const BASE: usize = 4096;

/// Runs `work` and fails if it allocates more than `justified` bytes altogether.
///
/// # Panics
///
/// That is what a fuzz target does with a finding.
pub fn bounded<T>(justified: usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let value = work();
    let change = region.change();
    assert!(change.bytes_allocated <= justified, "{change:?} where {justified} bytes are justified");
    value
}
