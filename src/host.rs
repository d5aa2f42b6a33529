//! The host: files below a root directory, the parser, the kernel. Nothing here knows of documents or plans.

pub mod parser;
pub mod stage;
