//! The host, each part of it behind one narrow door. Absolute paths exist only here.

pub mod kernel;
//! The host: files below a root directory, the parser, the kernel. Nothing here knows of documents or plans.
//!
//! **Invariant:** absolute paths exist in this module only. What it hands out is an opened directory, the bytes of a
//! file, or a path for messages, which nobody opens.
pub mod dir;
pub mod lock;
pub mod replace;
pub mod root;
pub mod spool;
pub mod parser;
pub mod stage;
