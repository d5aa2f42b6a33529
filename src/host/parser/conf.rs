//! `parser.conf`: the options that an administrator gives to every run of apparmor_parser.
//!
//! The rules are those of the parser's own reader (apparmor_parser(8), "CONFIG FILE", and measured with 3.0.8): one
//! option a line, blanks before it ignored, `#` first means a comment; the name ends at a blank or `=`, the value
//! follows after more blanks and runs to the line's end, quotes and trailing blanks being part of it; of two the last
//! counts, except for options that add up. Lines are cut after 255 bytes, and each piece is read as a line.
//!
//! **Invariant:** every byte sequence is a `parser.conf`. What this program does not know is listed, not guessed at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Where the file stands, as a path in the root.
pub const PATH: &str = "/etc/apparmor/parser.conf";
/// The policy directory where no `base` option names another.
pub const DEFAULT_BASE: &str = "/etc/apparmor.d";
/// The places of the parser's cache where no `cache-loc` option names another: that of AppArmor 3 and later, then
/// those of older versions.
pub const DEFAULT_CACHE_LOCS: [&str; 3] = ["/var/cache/apparmor", "/etc/apparmor.d/cache.d", "/etc/apparmor.d/cache"];

/// The parser reads lines with `fgets` into 256 bytes.
const LONGEST_LINE: usize = 255;

/// The features that a policy was written for (`policy-features`, `override-policy-abi`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyFeatures {
    /// Those of the kernel that is compiled for, written as `<kernel>`.
    Kernel,
    /// Those in this file, as a path in the root.
    File(PathBuf),
    /// Those in the option itself (`match-string`).
    Text(OsString),
}

/// What a `parser.conf` says, as far as it matters to compiling and to the parser's cache. Paths are in the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParserConf {
    /// The directories searched for `<x>` before the policy directory, in order (`Include`).
    pub includes: Vec<PathBuf>,
    /// The features assumed for a file without an abi rule (`policy-features`).
    pub policy_features: Option<PolicyFeatures>,
    /// The features assumed for every file, whatever its abi rule (`override-policy-abi`).
    pub override_features: Option<PolicyFeatures>,
    /// The file with the kernel's features (`kernel-features`, `features-file`), which the running kernel's replace.
    pub kernel_features: Option<PathBuf>,
    /// Whether the parser writes its cache by default (`write-cache`).
    pub write_cache: bool,
    /// Whether every profile is compiled in complain mode (`Complain`).
    pub forces_complain: bool,
    /// Names of options that are left out because this program does not know what they do.
    pub unknown: Vec<String>,
    /// Options that change what a boot makes of policy, with what they do.
    pub at_boot: Vec<(&'static str, &'static str)>,
    base: Option<PathBuf>,
    cache_locs: Vec<PathBuf>,
    /// Lines that change what is compiled and name no path.
    kept: Vec<Vec<u8>>,
}

impl ParserConf {
    /// Reads the text of a `parser.conf`; a missing one is the same as an empty one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut conf = Self::default();
        for line in text.split(|&byte| byte == b'\n').flat_map(|line| line.chunks(LONGEST_LINE)) {
            // A C string ends at the first zero byte.
            let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
            let line = trim_blanks(line);
            if line.starts_with(b"#") {
                continue;
            }
            let is_delimiter = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'=');
            let Some(start) = line.iter().position(|byte| !is_delimiter(byte)) else { continue };
            let end = line[start..].iter().position(is_delimiter).map_or(line.len(), |length| start + length);
            let value = line.get(end + 1..).map(trim_blanks).unwrap_or_default();
            conf.take(&line[start..end], value);
        }
        conf
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        let has_value = !value.is_empty();
        let at_boot = AT_BOOT.iter().find(|(option, _)| option.as_bytes() == name);
        self.at_boot.extend(at_boot.filter(|_| has_value || !NEEDS_VALUE.contains(&name)));
        match name {
            b"Complain" | b"complain" => self.forces_complain = true,
            b"write-cache" => self.write_cache = true,
            b"readimpliesX" => self.keep(name, value),
            // The parser itself ends at an option that lacks its value; there is nothing to take over from it.
            _ if !has_value && NEEDS_VALUE.contains(&name) => {}
            b"Include" => self.includes.push(in_root(value)),
            b"base" => self.base = Some(in_root(value)),
            b"policy-features" | b"compile-features" => self.policy_features = Some(PolicyFeatures::read(value)),
            b"override-policy-abi" => self.override_features = Some(PolicyFeatures::read(value)),
            b"kernel-features" => self.kernel_features = Some(in_root(value)),
            b"features-file" => {
                self.kernel_features = Some(in_root(value));
                self.policy_features = Some(PolicyFeatures::File(in_root(value)));
            }
            b"match-string" => self.policy_features = Some(PolicyFeatures::Text(OsString::from_vec(value.to_vec()))),
            b"cache-loc" => self.cache_locs = split_cache_locs(value),
            b"Optimize" | b"optimize" | b"namespace" | b"Werror" | b"prompt-compat" => self.keep(name, value),
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ => self.unknown.push(String::from_utf8_lossy(name).into_owned()),
        }
    }

    fn keep(&mut self, name: &[u8], value: &[u8]) {
        let separator: &[u8] = if value.is_empty() { b"" } else { b"=" };
        self.kept.push([name, separator, value, b"\n"].concat());
    }

    /// The policy directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.base.as_deref().unwrap_or(Path::new(DEFAULT_BASE))
    }

    /// The places of the parser's cache. A profile's entry is `<place>/<hash of features>.<number>/<file name>`; the
    /// parser writes the first place and reads all, and what it does not find in one it looks up in the next. Where
    /// `cache-loc` stands more than once, the last counts.
    #[must_use]
    pub fn cache_locs(&self) -> Vec<PathBuf> {
        if self.cache_locs.is_empty() {
            DEFAULT_CACHE_LOCS.map(PathBuf::from).to_vec()
        } else {
            self.cache_locs.clone()
        }
    }

    /// Whether [staged](Self::staged) policy compiles to what the parser puts into its cache: nothing that this program
    /// does not know has a say, and the parser caches at all.
    #[must_use]
    pub fn compiles_as_staged(&self) -> bool {
        let caches_nothing = ["skip-cache", "namespace"];
        self.unknown.is_empty()
            && self.base() == Path::new(DEFAULT_BASE)
            && !self.forces_complain
            && !self.at_boot.iter().any(|(option, _)| caches_nothing.contains(option))
    }

    /// Every file that the parser reads because an option names it, besides those that policy includes; to be staged.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.policy_features, &self.override_features].into_iter().flatten().filter_map(|features| match features {
            PolicyFeatures::File(path) => Some(path.as_path()),
            PolicyFeatures::Kernel | PolicyFeatures::Text(_) => None,
        })
    }

    /// The text of a `parser.conf` for compiling: the options that change the result and name no path. Options that
    /// load, print, cache, schedule or look at the kernel are gone. It stays a file, because the parser skips what it
    /// does not know in a file and refuses it on a command line.
    #[must_use]
    pub fn staged(&self) -> Vec<u8> {
        let complain: &[u8] = if self.forces_complain { b"Complain\n" } else { b"" };
        [complain, &self.kept.concat()].concat()
    }

    /// The options that name paths, as arguments: a path in the stage is often too long for a line of the file.
    /// `staged` gives the staged place of a path in the root, `kernel` is the file that stands for `<kernel>`.
    #[must_use]
    pub fn arguments(&self, staged: impl Fn(&Path) -> PathBuf, kernel: &Path) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for directory in &self.includes {
            arguments.extend(["--Include".into(), staged(directory).into_os_string()]);
        }
        let features =
            [("--policy-features", &self.policy_features), ("--override-policy-abi", &self.override_features)];
        for (option, features) in features {
            arguments.extend(match features {
                None => continue,
                Some(PolicyFeatures::Kernel) => [option.into(), kernel.into()],
                Some(PolicyFeatures::File(path)) => [option.into(), staged(path).into_os_string()],
                Some(PolicyFeatures::Text(text)) => ["--match-string".into(), text.clone()],
            });
        }
        arguments
    }
}

impl PolicyFeatures {
    fn read(value: &[u8]) -> Self {
        if value == b"<kernel>" { Self::Kernel } else { Self::File(in_root(value)) }
    }
}

const NEEDS_VALUE: [&[u8]; 13] = [
    b"Include",
    b"base",
    b"policy-features",
    b"compile-features",
    b"override-policy-abi",
    b"kernel-features",
    b"features-file",
    b"match-string",
    b"cache-loc",
    b"Optimize",
    b"optimize",
    b"namespace",
    b"prompt-compat",
];

/// Options that change what a boot loads, or whether it uses the cache: a boot gives `--write-cache --replace` and the
/// policy directory after these (rc.apparmor.functions of Debian 12 and 13), which overrides none of them
/// (parser_main.c, `process_arg`; measured with 3.0.8 and 4.1.0 and a stand-in for the kernel's directory).
const AT_BOOT: [(&str, &str); 21] = [
    ("skip-kernel-load", LOADS_NOTHING),
    ("names", LOADS_NOTHING),
    ("stdout", LOADS_NOTHING),
    ("ofile", LOADS_NOTHING),
    ("preprocess", LOADS_NOTHING),
    ("debug", LOADS_NOTHING),
    ("purge-cache", LOADS_NOTHING),
    ("print-cache-dir", LOADS_NOTHING),
    ("help", LOADS_NOTHING),
    ("version", LOADS_NOTHING),
    ("dump", DUMPS),
    ("Dump", DUMPS),
    ("binary", "a boot takes every profile's text for compiled policy, and loads none"),
    ("subdomainfs", "a boot loads policy elsewhere than into the kernel's own directory"),
    ("namespace", "a boot loads every profile into that policy namespace"),
    ("abort-on-error", "the first profile that does not compile keeps a boot from loading those after it"),
    ("skip-cache", COMPILES_ANEW),
    ("skip-read-cache", COMPILES_ANEW),
    ("remove", COMPILES_ANEW),
    ("skip-bad-cache", "a boot with another kernel makes no cache for it"),
    ("skip-bad-cache-rebuild", "a boot does not compile anew what the kernel refuses to load from the cache"),
];
const LOADS_NOTHING: &str = "a boot loads no policy";
const DUMPS: &str = "with the value `variables` or `expanded-variables`, a boot loads no policy";
const COMPILES_ANEW: &str = "a boot compiles every profile anew";

/// Options that load, print, cache, schedule or warn: they do not change what a profile compiles to.
const WITHOUT_EFFECT: [&[u8]; 35] = [
    b"add",
    b"replace",
    b"reload",
    b"remove",
    b"binary",
    b"subdomainfs",
    b"help",
    b"version",
    b"names",
    b"stdout",
    b"ofile",
    b"quiet",
    b"verbose",
    b"skip-kernel-load",
    b"skip-cache",
    b"skip-read-cache",
    b"show-cache",
    b"skip-bad-cache",
    b"purge-cache",
    b"create-cache-dir",
    b"skip-bad-cache-rebuild",
    b"debug-cache",
    b"print-cache-dir",
    b"print-config-file",
    b"config-file",
    b"print-prompt-compat",
    b"debug",
    b"dump",
    b"Dump",
    b"preprocess",
    b"jobs",
    b"max-jobs",
    b"abort-on-error",
    b"warn",
    b"estimated-compile-size",
];

fn trim_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    &text[start..]
}

/// The parser runs with `/` as its working directory at boot, so that a relative path is one below `/`.
fn in_root(value: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(value))
}

/// Splits at commas. apparmor_parser(8) says that a backslash protects one, but the parser skips the backslash alone
/// (parser_main.c, `parse_cacheloc`; measured with 3.0.8 and 4.1.0), and it stays part of the path.
fn split_cache_locs(value: &[u8]) -> Vec<PathBuf> {
    value.split(|&byte| byte == b',').filter(|place| !place.is_empty()).map(in_root).collect()
}

#[cfg(test)]
mod tests;
