//! The built program on scratch hosts: real files, the machine's own `apparmor_parser`, no mocks.
//!
//! **Invariant:** nothing outside a temporary directory is written, and every report that a test sees is valid against
//! `schemas/report.v1.json`.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod apply;
mod attachments;
mod boot_cache;
mod debian_policy;
mod export;
mod faults;
mod forms;
mod ownership;
mod records;
mod refusals;
mod scratch;
mod services;
mod status;
mod switches;
