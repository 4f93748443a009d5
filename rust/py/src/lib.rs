//! `kproxy._core`: the Rust core as Python sees it.

use pyo3::prelude::*;

/// The Rust core of kproxy.
#[pymodule(gil_used = true)]
mod _core {}
