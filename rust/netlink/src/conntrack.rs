// SPDX-License-Identifier: Apache-2.0
//! Flows of the connection tracker.
