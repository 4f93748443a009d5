// SPDX-License-Identifier: Apache-2.0
//! The one place where a Rust error becomes a Python exception.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

pyo3::create_exception!(
    kproxy._core,
    NetlinkError,
    PyOSError,
    "The kernel refused: errno, strerror, index of the failing operation or None, and how many operations were committed."
);

pyo3::create_exception!(
    kproxy._core,
    RelayError,
    PyOSError,
    "The relay cannot do what it was asked for: errno and strerror, which names what was tried."
);

/// The exception for an error of the relay crate.
pub fn relay_exception(error: relay::Error) -> PyErr {
    RelayError::new_err((error.errno, error.text))
}

/// The exception for an error of the netlink crate.
pub fn exception(error: netlink::Error) -> PyErr {
    let raised = NetlinkError::new_err((error.errno, error.text));
    let told = Python::attach(|python| {
        let value = raised.value(python);
        value.setattr("index", error.index)?;
        value.setattr("committed", error.committed)
    });
    told.map_or_else(|failure| failure, |()| raised)
}
