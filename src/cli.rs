//! The command line's grammar, and nothing else.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::profile::Owner;

/// Makes a host's AppArmor policy what one JSON document says, and reports what changed.
#[derive(Debug, Parser)]
#[command(name = "aa-converge", version, disable_help_subcommand = true, after_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  aa-converge apply < policy.json                              this host, its kernel included
  aa-converge apply --check --diff policy.json                 what would change, and nothing else
  aa-converge apply policy.json --root /srv/image              an image or a chroot
  aa-converge status                                           what is installed, and what runs of it
  aa-converge export > policy.json                             this host's policy as a document
  aa-converge render policy.json                               the profiles as text
  aa-converge schema document > document.v1.json               the document's JSON Schema";

const EXIT_STATUS: &str = "\
Exit status:
  0 converged, or nothing to do          4 refused before any change
  2 changed (--detailed-exitcodes)       5 failed, everything is as it was
  3 the document is refused              6 failed, and something could not be undone: see the report
  64 wrong call                          74 done, and the answer could not be written
  1 a defect of aa-converge";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the policy what the document says.
    ///
    /// Compiles everything that changes, writes files atomically, and undoes it all if anything fails. Run again, it
    /// does nothing and says so.
    Apply(ApplyArgs),
    /// Tell what is installed, whose it is, what runs of it, and what differs; changes nothing.
    ///
    /// Lists every file of profiles with its owner and package, every profile with the mode and hash that it should have
    /// and that it has in the kernel, profiles in the kernel that no file here defines, and the processes that profiles
    /// confine. What differs has the words that `apply` gives for its reasons.
    Status(StatusArgs),
    /// Print today's policy directory as a document that `apply` finds in sync; changes nothing.
    ///
    /// Files that no package ships, or that were edited, stand in it with their text. A package's own profile stands in
    /// it as a mode: `disabled` or `complain` where a link says so, else `as_written`, which keeps it as the package
    /// ships it. Other files of packages are left out, and so are the empty files in `local/` that come with their
    /// profiles. What was deleted of a package is `absent`. Standard error names what a document cannot say, and what
    /// `apply` would change all the same.
    Export(ExportArgs),
    /// Print the document's profiles as text, without touching the host.
    ///
    /// Services are rendered with AppArmor's own variables and those of the document; `apply` adds what only the host
    /// knows: where a program is a link or a script, and variables that the host declares.
    Render(RenderArgs),
    /// Print a JSON Schema.
    Schema(SchemaArgs),
}

const APPLY_EXAMPLES: &str = "\
Examples:
  aa-converge apply --root /srv/image policy.json
  aa-converge apply --root /srv/image --check --diff policy.json
  aa-converge apply --format json < policy.json
  aa-converge apply --kernel skip policy.json                  the files alone
  aa-converge apply --check --detailed-exitcodes policy.json || echo \"status $?\"";

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = format!("{APPLY_EXAMPLES}\n\n{EXIT_STATUS}"))]
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

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aa-converge status
  aa-converge status --root /srv/image
  aa-converge status --format json | jq '.profiles[] | select(.drift != []) | .file'
  aa-converge status --format json | jq -e '.summary.drifted == 0'

The answer is described by `aa-converge schema status`.

Exit status:
  0 it could be told, whatever it says
  4, 64 it could not: a report in its place says why
  74 it could not be written")]
pub struct StatusArgs {
    /// What is looked at.
    #[command(flatten)]
    pub host: HostArgs,
    /// The answer's form [default: text on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: Option<AnswerFormat>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aa-converge export > policy.json
  aa-converge export --owner web-fleet --root /srv/image > policy.json
  aa-converge export --kernel skip --format text
  aa-converge export > policy.json && aa-converge apply --check policy.json

The document is described by `aa-converge schema document`.

Exit status:
  0 there is one
  4, 64 there is none: a report in its place says why
  74 it could not be written")]
pub struct ExportArgs {
    /// What is looked at. With the running kernel, what `apply` would load is named.
    #[command(flatten)]
    pub host: HostArgs,
    /// The document's owner; what other owners hold is left out [default: the only owner here, else `local`].
    #[arg(long, value_name = "NAME", value_parser = |name: &str| Owner::new(name))]
    pub owner: Option<Owner>,
    /// The answer's form: the document, or a list of its entries for people [default: text on a terminal, else json].
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: Option<AnswerFormat>,
}

/// Which host, and through what it is looked at.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// An image or a chroot: every path is below it.
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
    /// Whether the running kernel is looked at [default: require on /, skip with --root].
    #[arg(long, value_enum, value_name = "WHAT")]
    pub kernel: Option<KernelUse>,
    /// The kernel features that policy is compiled for, as given to `apply`.
    #[arg(long, value_name = "FILE")]
    pub kernel_features: Option<PathBuf>,
    /// The parser, as given to `apply` [default: apparmor_parser where it is usually installed].
    #[arg(long, value_name = "PATH")]
    pub parser: Option<PathBuf>,
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

/// What the running kernel is to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelUse {
    /// A part of it; without AppArmor the command is refused.
    Require,
    /// Left alone: only files count.
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

/// The form of a status or an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// One JSON value.
    Json,
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
    /// What `apply` prints, and every command that could not do its work.
    Report,
    /// What `status` prints.
    Status,
}
