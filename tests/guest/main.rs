//! The built program on real AppArmor kernels, as root, with `apply` on `/`.
//!
//! `tests/vm/suite.sh` ships these tests into a guest that it boots and runs them there, one after the other: each
//! takes the whole machine, and begins with nothing loaded ([`guest::Guest::fresh`]). What the kernel runs is read here
//! from its own files ([`kernel`]), never by the program's code; what it should run is what `apparmor_parser -r` makes
//! of the same text.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod boots;
mod confinement;
mod drift;
mod guest;
mod kernel;
mod loading;
mod model;
mod modes;
mod programs;
mod reading;
mod refusals;
mod services;
mod undo;
