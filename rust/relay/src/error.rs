// SPDX-License-Identifier: Apache-2.0
//! What keeps a relay from starting or from being handed over.

use std::fmt;
use std::io;

/// One sentence that names the thing, and the kernel's error number behind it (0: none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The error number, such as `EADDRINUSE`.
    pub errno: i32,
    /// What was tried, and the system's words.
    pub text: String,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a sentence of our own.
    pub fn new(errno: i32, text: impl Into<String>) -> Self {
        Self { errno, text: text.into() }
    }

    /// The error a system call left behind, with what was tried.
    pub fn system(error: &io::Error, what: impl fmt::Display) -> Self {
        let text = error.to_string();
        let words = text.split(" (os error").next().unwrap_or_default();
        Self::new(error.raw_os_error().unwrap_or(libc::EIO), format!("{what}: {words}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
