//! aa-converge: one JSON document says which AppArmor policy a host should have; one command makes exactly the
//! difference true and reports it.
#![forbid(unsafe_code)]

pub mod error;
pub mod host;
pub mod policy;
pub mod problem;
pub mod profile;
pub mod syntax;
