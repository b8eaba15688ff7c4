//! A growing byte buffer whose first byte lies on a block boundary, as `O_DIRECT` wants it.

use super::BLOCK;

/// Larger buffers are given back after use, so that one huge group does not keep its memory for ever.
const KEEP: usize = 4 << 20;

/// Over-allocates by one block and starts at the first boundary inside; no unsafe code needed.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        if self.memory.len() > KEEP {
            *self = Self::new();
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let old = self.len;
        self.reserve(old + bytes.len());
        self.len = old + bytes.len();
        self.as_mut_slice()[old..].copy_from_slice(bytes);
    }

    /// Sets the length; bytes between the old and the new end become zero.
    pub(crate) fn resize(&mut self, len: usize) {
        self.reserve(len);
        let old = self.len;
        self.len = len;
        if len > old {
            self.as_mut_slice()[old..].fill(0);
        }
    }

    fn reserve(&mut self, wanted: usize) {
        if self.start + wanted <= self.memory.len() {
            return;
        }
        let size = wanted.next_power_of_two().max(16 * BLOCK) + BLOCK;
        let mut memory = vec![0; size];
        // `align_offset` may in theory decline to answer; the system then refuses the write, which is reported.
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        memory[start..start + self.len].copy_from_slice(self.as_slice());
        self.memory = memory;
        self.start = start;
    }
}
