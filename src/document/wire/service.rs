//! Services and classes as other programs write them, and their part of the schema.

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::{code_schema, reason_schema};
use crate::acceptance::{Objection, Reason, Scope};
use crate::document::{MAX_ACCEPTANCES, MAX_VALUES_OF_TERM};
use crate::service::{
    AbiName, Capability, Class as BuiltIn, Direction, Family, Label, MAX_VALUE, PathPattern, Program, RuleText, Signal,
    SocketType, TemporaryName, Transition,
};

/// Defines an object that has terms, after fields of its own.
macro_rules! with_terms {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// Configuration: may be read. Each path stands for itself and, if it is a directory, for everything below;
            /// one that ends with a wildcard is taken as it is.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "paths_schema")]
            pub config: Option<Vec<PathPattern>>,
            /// Libraries and modules: may be read and mapped as code, as Python's and Node's native modules and a JVM's
            /// libraries are. Paths as for `config`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "paths_schema")]
            pub libraries: Option<Vec<PathPattern>>,
            /// Data: may be read, written, created and locked. Paths as for `config`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "paths_schema")]
            pub data: Option<Vec<PathPattern>>,
            /// Logs: may be written and appended to, not read. Paths as for `config`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "paths_schema")]
            pub logs: Option<Vec<PathPattern>>,
            /// Sockets and process files below /run: may be read, written, created and locked.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "runtime_schema")]
            pub runtime: Option<Vec<PathPattern>>,
            /// Names of temporary files and directories, below /tmp and /var/tmp: may be read, written, created and
            /// locked by the user that owns them. A name begins with at least three plain characters; one that other
            /// programs make too, such as `tmp*`, must be accepted as `write-tmp`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "temp_schema")]
            pub temp: Option<Vec<TemporaryName>>,
            /// Sockets that take connections. With an abi of AppArmor 4.0 or later, they cannot be used to connect;
            /// earlier ones do not tell the two apart.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
            pub listen: Option<Vec<Network>>,
            /// Sockets that make connections. With an abi of AppArmor 4.0 or later, they cannot be used to listen.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
            pub connect: Option<Vec<Network>>,
            /// Capabilities, by their names in capabilities(7) without `CAP_`, in small letters.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
            pub capabilities: Option<Vec<Capability>>,
            /// Signals to and from the processes of other profiles. Those within the service are always allowed, and
            /// so are those from unconfined processes such as systemd.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
            pub signals: Option<Vec<SignalRule>>,
            /// AppArmor rules as they are written, for what no other term can say: each one rule with its comma in one
            /// line, or one `include <…>`. Commas, blanks and `#` in a path need quotes around all of it. Rules that deny
            /// are left out in complain mode, where they would deny in silence.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "rules_schema")]
            pub rules: Option<Vec<RuleText>>,
        }
    };
}

with_terms! {
    /// What a service needs, in its own terms; the profile is rendered from it. `aa-converge render` shows the text.
    pub struct Service {
        /// Its class: `proxy`, `worker`, `observer`, `helper`, or one of the document's `classes`.
        #[schemars(schema_with = "class_schema")]
        pub class: String,
        /// The absolute path of its program. Where that is a link on the host, the profile is for what it leads to.
        #[schemars(schema_with = "program_schema")]
        pub executable: Program,
        /// The profile's name; else the base name of the executable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "own_label_schema")]
        pub name: Option<Label>,
        /// The abi that the profile is written for, a file in the policy directory's `abi/`; else the class's, else
        /// `3.0`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "abi_schema")]
        pub abi: Option<AbiName>,
        /// What the service insists on although this program objects to it; each code once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("maxItems" = MAX_ACCEPTANCES))]
        pub accept: Option<Vec<ServiceAcceptance>>,
        /// Programs that it executes, each with what becomes of the confinement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
        pub execute: Option<Vec<Execute>>,
        /// Paths that are denied, whatever else allows them, and logged when they are tried: in enforce and kill modes
        /// alone; in children too. It may take an exception out of what is asked for, never all of that. Paths as for
        /// `config`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "paths_schema")]
        pub deny: Option<Vec<PathPattern>>,
    }
}

with_terms! {
    /// A class of one's own: another class with more terms. Its services have all of them.
    pub struct Class {
        /// The class that it extends: `proxy`, `worker`, `observer`, `helper`, or another of the document's.
        #[schemars(schema_with = "class_schema")]
        pub extends: String,
        /// The abi that its services' profiles are written for; else that of the class that it extends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "abi_schema")]
        pub abi: Option<AbiName>,
        /// What its services insist on although this program objects to it; each code once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("maxItems" = MAX_ACCEPTANCES))]
        pub accept: Option<Vec<ServiceAcceptance>>,
        /// Programs that its services execute, each with what becomes of the confinement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
        pub execute: Option<Vec<Execute>>,
        /// Paths that are denied, as in a service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(schema_with = "paths_schema")]
        pub deny: Option<Vec<PathPattern>>,
    }
}

with_terms! {
    /// What a program may do in a child profile of its own.
    pub struct Needs {
        /// Programs that it executes, in the child's own profile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
        pub execute: Option<Vec<ExecuteInChild>>,
    }
}

/// A program that runs in the child profile of what executes it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteInChild {
    /// The program, or a pattern of several. A directory is no program.
    #[schemars(schema_with = "programs_schema")]
    pub path: PathPattern,
    /// `inherit`: a child has no children of its own.
    #[schemars(schema_with = "inherit_schema")]
    pub transition: Transition,
}

/// A program that a service executes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("allOf" = transition_rules()))]
pub struct Execute {
    /// The program, or a pattern of several. A directory is no program.
    #[schemars(schema_with = "programs_schema")]
    pub path: PathPattern,
    /// What becomes of the confinement.
    pub transition: Transition,
    /// The profile that the program runs in: required with `profile`; with `child` the child's name, else the
    /// program's base name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_schema")]
    pub profile: Option<Label>,
    /// What the program may do in its `child` profile, besides reading and executing itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
}

/// Sockets of an address family and a type.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The address family. None is all of them, which must be accepted as `network-any-family`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The type of the sockets; else `stream` and `dgram`, or what the family has instead.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub socket: Option<SocketType>,
}

/// Signals between a service and another profile.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRule {
    /// Which way they go.
    pub direction: Direction,
    /// Which signals; else all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = MAX_VALUES_OF_TERM))]
    pub signals: Option<Vec<Signal>>,
    /// The name of the other profile.
    #[schemars(schema_with = "label_schema")]
    pub peer: Label,
}

/// Something about one service that this program objects to, and that the document accepts. The report's warnings name
/// it on every run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAcceptance {
    /// What is accepted.
    #[schemars(schema_with = "entry_code_schema")]
    pub code: Objection,
    /// Why, in one line, for whoever reads the document or the report.
    #[schemars(schema_with = "reason_schema")]
    pub reason: Reason,
}

/// Which fields go with which transition.
fn transition_rules() -> Value {
    let with = |transition: Transition, then: Value| {
        json!({
            "if": { "properties": { "transition": { "const": transition } }, "required": ["transition"] },
            "then": then
        })
    };
    json!([
        with(Transition::Inherit, json!({ "properties": { "profile": false, "needs": false } })),
        with(Transition::Profile, json!({ "properties": { "needs": false }, "required": ["profile"] })),
        with(
            Transition::Child,
            json!({ "properties": { "profile": { "pattern": "^[^/]*$", "not": { "const": "unconfined" } } } })
        ),
    ])
}

/// The names of the document's classes.
pub(super) fn class_names() -> Value {
    let built_in: Vec<_> = BuiltIn::WORDS.iter().map(|(word, _)| *word).collect();
    json!({ "pattern": CLASS, "not": { "enum": built_in } })
}

const CLASS: &str = "^[a-z][a-z0-9-]{0,62}$";

fn class_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": CLASS, "examples": ["proxy", "worker", "observer", "helper"] })
}

fn program_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r#"^/[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"\\*?\[\]{}^]*$"#,
        "not": { "pattern": format!("/$|{NO_COMPONENT}") },
        "examples": ["/usr/local/bin/report-exporter"]
    })
}

/// Components that the kernel resolves before it asks AppArmor.
const NO_COMPONENT: &str = r"//|(^|/)\.\.?(/|$)";

fn path_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r#"^(/|@\{[A-Za-z][A-Za-z0-9_]*\})[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"]*$"#,
        "not": { "pattern": NO_COMPONENT },
        "examples": ["/etc/report-exporter/config.yaml", "/var/lib/report-exporter", "/srv/{a,b}/*.conf"]
    })
}

fn programs_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r#"^(/|@\{[A-Za-z][A-Za-z0-9_]*\})[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"]*$"#,
        "not": { "pattern": format!("/$|{NO_COMPONENT}") },
        "examples": ["/usr/bin/gzip", "/usr/bin/{date,tar}", "/usr/lib/report-exporter/*"]
    })
}

fn inherit_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "const": Transition::Inherit })
}

fn list_of(item: Schema) -> Schema {
    json_schema!({ "type": "array", "items": item, "maxItems": MAX_VALUES_OF_TERM })
}

fn paths_schema(generator: &mut SchemaGenerator) -> Schema {
    list_of(path_schema(generator))
}

fn runtime_schema(_: &mut SchemaGenerator) -> Schema {
    list_of(json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r#"^(/run|@\{run\})/[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"]+$"#,
        "not": { "pattern": NO_COMPONENT },
        "examples": ["/run/report-exporter"]
    }))
}

fn temp_schema(_: &mut SchemaGenerator) -> Schema {
    list_of(json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r#"^[A-Za-z0-9_-][A-Za-z0-9._-]{2}[^/\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"]*$"#,
        "not": { "pattern": r"\*\*|@\{" },
        "examples": ["report-exporter-*"]
    }))
}

fn rules_schema(_: &mut SchemaGenerator) -> Schema {
    list_of(json_schema!({
        "type": "string",
        "maxLength": MAX_VALUE,
        "pattern": r"^[^ \x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]([^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*[^ \x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff])?$",
        "examples": ["ptrace (read) peer=unconfined,", "include <abstractions/nameservice>"]
    }))
}

fn label_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9/][A-Za-z0-9/._+-]{0,254}$", "examples": ["nginx"] })
}

fn own_label_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._+-]{0,254}$",
        "not": { "const": "unconfined" },
        "examples": ["report-exporter"]
    })
}

fn abi_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "examples": ["3.0", "4.0"] })
}

fn entry_code_schema(_: &mut SchemaGenerator) -> Schema {
    code_schema(Scope::Entry)
}
