//! Bytes to and from the kernel.
