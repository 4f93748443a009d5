// SPDX-License-Identifier: Apache-2.0
//! The one place with `unsafe`: descriptors that Python owns.

#![expect(unsafe_code, reason = "a number from Python becomes a descriptor here and nowhere else")]

use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::PyResult;

/// Work with a descriptor that the caller in Python keeps open meanwhile.
pub fn borrowing<T>(number: RawFd, work: impl FnOnce(BorrowedFd<'_>) -> T) -> PyResult<T> {
    if number < 0 {
        return Err(PyValueError::new_err(format!("{number} is no descriptor")));
    }
    // SAFETY: the number is not negative, and the borrow ends before the call does, until when the caller keeps it open.
    Ok(work(unsafe { BorrowedFd::borrow_raw(number) }))
}
