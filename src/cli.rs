//! The command line's grammar, and nothing else.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes a host's AppArmor policy what one JSON document says, and reports what changed.
#[derive(Debug, Parser)]
#[command(name = "aa-converge", version, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  aa-converge apply policy.json --root /srv/image              an image or a chroot
  aa-converge apply --kernel skip < policy.json                this host's files alone
  aa-converge apply --kernel skip --check --diff policy.json   what would change, and nothing else
  aa-converge render policy.json                               the profiles as text
  aa-converge schema document > document.v1.json               the document's JSON Schema

Exit status:
  0 converged, or nothing to do          4 refused before any change
  2 changed (--detailed-exitcodes)       5 failed, everything is as it was
  3 the document is refused              6 failed, and something could not be undone: see the report
  64 wrong call                          1 a defect of aa-converge";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the policy what the document says.
    ///
    /// Compiles everything that changes, writes files atomically, and undoes it all if anything fails. Run again, it
    /// does nothing and says so.
    Apply(ApplyArgs),
    /// Print the document's profiles as text, without touching the host.
    Render(RenderArgs),
    /// Print a JSON Schema.
    Schema(SchemaArgs),
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aa-converge apply --root /srv/image policy.json
  aa-converge apply --root /srv/image --check --diff policy.json
  aa-converge apply --kernel skip --format json < policy.json
  aa-converge apply --kernel skip --check --detailed-exitcodes policy.json || echo \"status $?\"")]
pub struct ApplyArgs {
    /// The document; `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    pub document: PathBuf,
    /// Plan and compile, but change nothing.
    #[arg(long)]
    pub check: bool,
    /// Add texts before and after to the report.
    #[arg(long)]
    pub diff: bool,
    /// Exit with 2 when something was changed, or with --check would be.
    #[arg(long)]
    pub detailed_exitcodes: bool,
    /// An image or a chroot: every path is below it.
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
    /// Whether policy is loaded into the running kernel [default: require on /, skip with --root].
    #[arg(long, value_enum, value_name = "WHAT")]
    pub kernel: Option<KernelUse>,
    /// Compile for the kernel with these features, a file as `aa-features-abi` writes it.
    #[arg(long, value_name = "FILE")]
    pub kernel_features: Option<PathBuf>,
    /// The report's form [default: text on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: Option<Format>,
    /// Write a copy of the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// List what is unchanged, too.
    #[arg(long)]
    pub all: bool,
    /// How long to wait for another run to end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub lock_timeout: u64,
    /// How many parsers run at once [default: the processors, as far as memory goes].
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// The parser [default: apparmor_parser where it is usually installed].
    #[arg(long, value_name = "PATH")]
    pub parser: Option<PathBuf>,
    /// How long the parser may work on one file, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub parser_timeout: u64,
}

/// Arguments of `render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The document; `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    pub document: PathBuf,
    /// The output's form [default: text].
    #[arg(long, value_enum, value_name = "FORM", default_value = "text", hide_default_value = true)]
    pub format: RenderFormat,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which schema.
    #[arg(value_enum)]
    pub of: SchemaOf,
}

/// Whether policy is loaded into the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelUse {
    /// Load it; without AppArmor the run is refused.
    Require,
    /// Write files only.
    Skip,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON value.
    Json,
    /// What Salt's `stateful` reads.
    Salt,
    /// Lines for people.
    Text,
}

/// The form of rendered profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RenderFormat {
    /// One JSON value.
    Json,
    /// The texts, each after a line with its path.
    Text,
}

/// What there are schemas of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// What `apply` reads.
    Document,
    /// What `apply` prints.
    Report,
}
