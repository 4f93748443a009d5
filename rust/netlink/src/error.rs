// SPDX-License-Identifier: Apache-2.0
//! What the kernel answered when it said no.

use std::fmt;
use std::io;

/// A refusal of the kernel, or bytes that cannot be sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The error number, such as `EEXIST`.
    pub errno: i32,
    /// One sentence: what was tried, and the kernel's extended text where it gave one.
    pub text: String,
    /// The operation of a batch that failed, counted from 0, where the kernel told which.
    pub index: Option<usize>,
    /// Operations that earlier pieces of the same load have committed.
    pub committed: usize,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a sentence of our own.
    pub fn new(errno: i32, text: impl Into<String>) -> Self {
        Self { errno, text: text.into(), index: None, committed: 0 }
    }

    /// The error a system call left behind, with what was tried.
    pub fn system(error: &io::Error, what: &str) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Self::new(errno, format!("{what}: {}", words(errno)))
    }

    /// Data of the caller's that no message can carry.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(libc::EINVAL, text)
    }
}

/// The system's words for an error number, without the number.
pub(crate) fn words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
