//! aa-converge: one JSON document says which AppArmor policy a host should have; one command makes exactly the
//! difference true and reports it.
//!
//! ```text
//! stdin → document ─────────┐
//!                           ├→ plan → apply::prepare → apply::commit → report → stdout
//! host → lock → observe ────┘         (compiles all)    (files, kernel, proof | undo)
//! ```
//!
//! Everything that can be refused is refused before the first effect; after it, nothing is an error, everything is a
//! report.
//!
//! Pure, without file system, process, environment or clock: [`profile`], [`problem`], [`acceptance`], [`syntax`],
//! [`tree`], [`document`], [`policy`], [`ledger`], [`journal`], [`sighting`], [`confinement`], [`plan`], [`report`],
//! [`render`], [`status`], [`export`]. With effects: [`host`], [`observe`] (reads), [`apply`] (writes), [`run`] (puts
//! them in order).
#![forbid(unsafe_code)]

pub mod acceptance;
pub mod apply;
pub mod cli;
pub mod confinement;
pub mod document;
pub mod error;
pub mod export;
pub mod glob;
pub mod host;
pub mod journal;
pub mod ledger;
pub mod observe;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod profile;
pub mod render;
pub mod report;
pub mod run;
pub mod schema;
pub mod service;
pub mod sighting;
pub mod status;
pub mod syntax;
pub mod template;
pub mod tree;
