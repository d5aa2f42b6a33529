//! The host, each part of it behind one narrow door. Absolute paths exist only here.

pub mod kernel;
