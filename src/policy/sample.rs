//! Compiled policy made by hand, for tests that need blobs without a parser.
//!
//! The blobs are whole in structure, and empty in content: good for everything in this program, not for a kernel.

use crate::profile::Mode;

/// What apparmor_parser 3.0 writes for `abi/3.0`: policy version 2, parser interface 2, kernel interface 7.
pub(crate) const VERSION: u32 = 0x20_2007;

/// A profile of the current namespace in `mode` whose rules are `rules`, any bytes that tell it from others.
pub(crate) fn blob(name: &str, mode: Mode, rules: &str) -> Vec<u8> {
    blob_in(None, name, mode, rules)
}

/// The same with `namespace` in its header.
pub(crate) fn blob_in(namespace: Option<&str>, name: &str, mode: Mode, rules: &str) -> Vec<u8> {
    with_version(VERSION, namespace, name, mode, rules)
}

/// The same with a version word of its own.
pub(crate) fn with_version(version: u32, namespace: Option<&str>, name: &str, mode: Mode, rules: &str) -> Vec<u8> {
    let mode = match mode {
        Mode::Enforce => 0,
        Mode::Complain => 1,
        Mode::Kill => 2,
        Mode::Unconfined | Mode::DefaultAllow => 3,
        Mode::Prompt => 4,
    };
    let mut out = Vec::new();
    chunk(&mut out, 4, "version");
    number(&mut out, version);
    if let Some(namespace) = namespace {
        chunk(&mut out, 4, "namespace");
        chunk(&mut out, 5, namespace);
    }
    chunk(&mut out, 4, "profile");
    out.push(7);
    chunk(&mut out, 5, name);
    chunk(&mut out, 4, "flags");
    out.push(7);
    [0, mode, 0].into_iter().for_each(|word| number(&mut out, word));
    out.push(8);
    [0; 4].into_iter().for_each(|capabilities| number(&mut out, capabilities));
    chunk(&mut out, 4, "aadfa");
    out.push(6);
    out.extend(u32::try_from(rules.len()).unwrap().to_le_bytes());
    out.extend(rules.as_bytes());
    out.push(8);
    out
}

fn chunk(out: &mut Vec<u8>, code: u8, text: &str) {
    out.push(code);
    out.extend(u16::try_from(text.len() + 1).unwrap().to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn number(out: &mut Vec<u8>, word: u32) {
    out.push(2);
    out.extend(word.to_le_bytes());
}
