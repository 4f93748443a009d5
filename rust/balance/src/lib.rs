//! Selection methods for endpoints.
