//! The host: files below a root directory, the parser, the kernel. Nothing here knows of documents or plans.
//!
//! **Invariant:** absolute paths are opened in this module only. What is handed out is an opened directory, the bytes
//! of a file, or a path for messages; a path for messages is never opened.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::report::Recovered;

pub mod dir;
pub mod kernel;
pub mod lock;
pub mod packages;
pub mod parser;
pub mod replace;
pub mod root;
pub mod signals;
pub mod spool;
pub mod stage;

use kernel::{Access, Kernel, Securityfs};
use lock::Lock;
use parser::{Cancel, Parser};
use root::Root;
use spool::Spool;
use stage::Stage;

/// What a host is reached through.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory below which everything lies.
    pub root: PathBuf,
    /// What the running kernel is opened for; none leaves it alone.
    pub kernel: Option<Access>,
    /// A file with the features of the kernel to compile for; none has them found below the root.
    pub kernel_features: Option<PathBuf>,
    /// How many parsers run at once; none has it decided by processors and memory.
    pub jobs: Option<NonZeroUsize>,
    /// The parser's program; none has it looked for.
    pub parser: Option<PathBuf>,
    /// How long the parser may work on one file.
    pub parser_timeout: Duration,
    /// The directory for temporary files of a run that must leave the root untouched.
    pub temporary: PathBuf,
}

/// A host that can be looked at.
pub struct Host {
    /// Its files.
    pub root: Root,
    /// Its kernel, when it is managed.
    pub kernel: Option<Box<dyn Kernel>>,
    /// The parser, which is this machine's own, whatever the root.
    pub parser: Parser,
    /// See [`Options::kernel_features`].
    pub kernel_features: Option<PathBuf>,
    /// See [`Options::jobs`].
    pub jobs: Option<NonZeroUsize>,
    /// See [`Options::temporary`].
    pub temporary: PathBuf,
    /// Ends a run before its first effect.
    pub cancel: Cancel,
}

/// A host that nobody else changes by this program at the same time.
pub struct LockedHost {
    /// The host.
    pub host: Host,
    /// What was recovered of an interrupted run.
    pub recovered: Option<Recovered>,
    pub(crate) lock: Lock,
}

impl Host {
    /// Opens a host.
    ///
    /// # Errors
    /// The root or the parser is missing or cannot be used, or the kernel's policy cannot be managed from here.
    pub fn open(options: Options) -> Result<Self, Error> {
        let cancel = Cancel::new().map_err(|source| Error::File {
            act: "make a pair of sockets in",
            path: "/proc/self/fd".into(),
            source,
        })?;
        Ok(Self {
            root: Root::open(&options.root)?,
            kernel: options.kernel.map(open_kernel).transpose()?,
            parser: Parser::find(options.parser.as_deref(), options.parser_timeout)?,
            kernel_features: options.kernel_features,
            jobs: options.jobs,
            temporary: options.temporary,
            cancel,
        })
    }

    /// The version of the parser, which is asked for it in `spool`.
    ///
    /// # Errors
    /// The parser cannot be run, or does not tell.
    pub fn parser_version(&self, spool: &Spool) -> Result<String, Error> {
        let directory = spool.dir().private_dir("version")?;
        let stage = Stage::new(&directory.real_path()?, Path::new(parser::conf::DEFAULT_BASE))?;
        self.parser.version(&stage, &self.cancel)
    }

    /// Takes the lock, waiting up to `timeout` for another run to end.
    ///
    /// # Errors
    /// The lock is held by another run, or cannot be taken.
    pub fn lock(self, timeout: Duration) -> Result<LockedHost, Error> {
        let lock = Lock::acquire(&self.root, timeout, &|| self.cancel.is_triggered())?;
        Ok(LockedHost { host: self, recovered: None, lock })
    }
}

fn open_kernel(access: Access) -> Result<Box<dyn Kernel>, Error> {
    Ok(Box::new(Securityfs::open(access)?))
}
