//! The document as other programs write it, and its JSON Schema.
//!
//! These types are written, never read: [`super::parse`] reads, because it tells every problem at once. A test
//! demands that it accepts what the schema accepts, but for the rules that no schema can state.
//!
//! **Invariant:** within version 1 fields are only added, and only optional ones.

use std::collections::BTreeMap;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::{IfMissing, MAX_ACCEPTANCES, MAX_ENTRIES, MAX_TEXT, OnConfined, VERSION};
use crate::acceptance::{Objection, Reason, Scope};
use crate::profile::{DIRECTORIES, Digest, FileName, ModeScope, Owner, PolicyPath};

mod service;

pub use service::{Class, Execute, Needs, Network, Service, ServiceAcceptance, SignalRule};

/// The AppArmor policy that a host should have, as `aa-converge apply` reads it.
///
/// One JSON value in UTF-8 without a byte order mark, at most 64 MiB. No key stands twice in an object; no two entries
/// name one path, and none a path below another's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("$id" = "urn:aa-converge:document:v1", "allOf" = [pruning_rule()]))]
pub struct Document {
    /// The version of this format.
    #[schemars(schema_with = "version_schema")]
    pub version: u32,
    /// Who claims the entries: a name for the set of documents that follow one another on a host. A path that another
    /// owner holds is refused.
    #[schemars(schema_with = "owner_schema")]
    pub owner: Owner,
    /// Owners whose entries this document takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "owners_schema")]
    pub supersedes: Option<Vec<Owner>>,
    /// Whether files that this owner wrote and no longer lists go. What stood there before comes back; what a package
    /// installed is never deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub prune: Option<bool>,
    /// Whether `prune` may remove everything, when neither `files` nor `profiles` lists an entry: the way to uninstall.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub allow_empty: Option<bool>,
    /// What entries are taken to say where they say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// What the document insists on although this program objects to it, on the host as a whole; each code once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = MAX_ACCEPTANCES))]
    pub accept: Option<Vec<Acceptance>>,
    /// Files that profiles include: tunables, abstractions, additions in `local/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = MAX_ENTRIES))]
    pub files: Option<Vec<File>>,
    /// Classes of one's own, by name: what services of one kind have in common. A name is a small letter, then up to 62
    /// small letters, digits and `-`, and not that of a built-in class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = MAX_ENTRIES, "propertyNames" = service::class_names()))]
    pub classes: Option<BTreeMap<String, Class>>,
    /// Files that hold profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = MAX_ENTRIES))]
    pub profiles: Option<Vec<Profile>>,
}

/// Something that this program objects to, and that the document accepts. The report's warnings name it on every run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// What is accepted.
    #[schemars(schema_with = "host_code_schema")]
    pub code: Objection,
    /// Why, in one line, for whoever reads the document or the report.
    #[schemars(schema_with = "reason_schema")]
    pub reason: Reason,
}

/// What entries are taken to say where they say nothing.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The mode of entries that bring text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "as_written"))]
    pub mode: Option<Mode>,
    /// What to do when profiles that leave the kernel confine running processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "refuse"))]
    pub on_confined: Option<OnConfined>,
}

/// A file that profiles include. It brings its text in exactly one of `content`, `content_base64` and `source`, or
/// its state is `absent`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "allOf" = [state_rule(&[], &["content", "content_base64", "source"])],
    "dependentSchemas" = exclusions(&[]),
    "dependentRequired" = { "sha256": ["source"] }
))]
pub struct File {
    /// Its place below the policy directory (`/etc/apparmor.d`), in at least one directory.
    #[schemars(schema_with = "path_schema")]
    pub path: PolicyPath,
    /// Its text; at most 4 MiB in UTF-8, without NUL bytes and byte order mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "content_schema")]
    pub content: Option<String>,
    /// Its text in standard base64 with padding, at most 4 MiB decoded: for templating engines that break line ends,
    /// and for other encodings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "base64_schema")]
    pub content_base64: Option<String>,
    /// The absolute path of a regular file on the host that holds its text, at most 4 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "source_schema")]
    pub source: Option<String>,
    /// What the `source` must hold: its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "sha256_schema")]
    pub sha256: Option<Digest>,
    /// Whether it should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "present"))]
    pub state: Option<State>,
}

/// A file that holds profiles. It brings its text in one of `content`, `content_base64` and `source`, or has it rendered
/// from a `service`; or it names only the `mode` of an installed file; or its state is `absent`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "allOf" = [
        state_rule(
            &["service", "mode", "mode_scope", "if_missing"],
            &["content", "content_base64", "source", "service", "mode"]
        ),
        file_rule()
    ],
    "dependentSchemas" = exclusions(&["service", "if_missing"]),
    "dependentRequired" = { "sha256": ["source"] }
))]
pub struct Profile {
    /// Its name in the policy directory (`/etc/apparmor.d`): one component, which apparmor_parser would not skip. With
    /// a `service` it may be left out: it is then the executable's path without the leading slash, with `.` for `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "file_schema")]
    pub file: Option<FileName>,
    /// Its text; at most 4 MiB in UTF-8, without NUL bytes and byte order mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "content_schema")]
    pub content: Option<String>,
    /// Its text in standard base64 with padding, at most 4 MiB decoded: for templating engines that break line ends,
    /// and for other encodings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "base64_schema")]
    pub content_base64: Option<String>,
    /// The absolute path of a regular file on the host that holds its text, at most 4 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "source_schema")]
    pub source: Option<String>,
    /// What the `source` must hold: its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "sha256_schema")]
    pub sha256: Option<Digest>,
    /// The service that its text is rendered for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The mode of its profiles, hats and children. An entry that brings text has the default's mode if it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Which of its headers the mode applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "enforce_and_complain"))]
    pub mode_scope: Option<ModeScope>,
    /// Whether it should be there. An absent file's profiles leave the kernel too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "present"))]
    pub state: Option<State>,
    /// What to do when profiles that leave the kernel confine running processes; else as `defaults` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_confined: Option<OnConfined>,
    /// What to do when the file is not installed; only in entries that name nothing but a mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "refuse"))]
    pub if_missing: Option<IfMissing>,
}

/// Whether a file should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It should.
    Present,
    /// It should not.
    Absent,
}

/// A profile's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What the profile does not allow is denied and logged.
    Enforce,
    /// What the profile does not allow is allowed and logged; explicit `deny` rules still deny, silently.
    Complain,
    /// What the profile does not allow is denied and logged, and the process is killed.
    Kill,
    /// Everything is allowed; the profile only marks its processes.
    Unconfined,
    /// What the profile does not allow is asked of a daemon in user space (AppArmor 4 and later).
    Prompt,
    /// What no rule denies is allowed (AppArmor 4 and later).
    DefaultAllow,
    /// The profile is switched off: a link in `disable/`, nothing in the kernel.
    Disabled,
    /// The mode that the text itself gives.
    AsWritten,
}

/// The JSON Schema (draft 2020-12) of [`Document`].
#[must_use]
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>();
    RecursiveTransform(refuse_null).transform(&mut schema);
    schema.to_value()
}

/// Takes `null` out of the types of optional fields: a field that says nothing is left out.
fn refuse_null(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| *name != null["type"]);
        if let [only] = &mut types[..] {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != null);
        if let [Value::Object(only)] = &mut choices[..] {
            let only = std::mem::take(only);
            schema.remove("anyOf");
            only.into_iter().for_each(|(keyword, value)| drop(schema.insert(keyword, value)));
        }
    }
}

/// Names that apparmor_parser skips, as the end of a path's component.
const SKIPPED: &str =
    r"(^|/)README(/|$)|(~|\.(dpkg-(new|old|dist|bak|remove)|pacsave|pacnew|rpmnew|rpmsave|orig|rej))(/|$)";

fn version_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "const": VERSION })
}

fn owner_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._/:@-]{1,128}$", "examples": ["web-fleet"] })
}

fn owners_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": owner_schema(generator), "maxItems": MAX_ENTRIES })
}

fn file_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 255,
        "pattern": r"^[^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*$",
        "not": { "anyOf": [{ "pattern": SKIPPED }, { "enum": DIRECTORIES }] },
        "examples": ["usr.sbin.nginx"]
    })
}

fn path_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 4096,
        "pattern": r"^[^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*(/[^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*)+$",
        "not": { "pattern": format!("^((disable|force-complain)/|cache)|{SKIPPED}") },
        "examples": ["local/usr.sbin.nginx", "tunables/home.d/site"]
    })
}

fn host_code_schema(_: &mut SchemaGenerator) -> Schema {
    code_schema(Scope::Host)
}

fn code_schema(scope: Scope) -> Schema {
    let codes: Vec<_> =
        scope.objections().map(|it| json!({ "const": it.code(), "description": it.meaning() })).collect();
    json_schema!({ "type": "string", "oneOf": codes })
}

fn reason_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": Reason::MAX,
        "pattern": r"^[^ \x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff][^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*$",
        "examples": ["the laboratory's kernels run in complain mode"]
    })
}

fn content_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": MAX_TEXT,
        "pattern": r"^([^\x00\ufeff][^\x00]*)?$",
        "examples": ["@{HOMEDIRS}+=/srv/home/\n"]
    })
}

fn base64_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "contentEncoding": "base64",
        "maxLength": MAX_TEXT.div_ceil(3) * 4,
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
        // The byte order mark.
        "not": { "pattern": "^77u/" },
        "examples": ["QHtIT01FRElSU30rPS9zcnYvaG9tZS8K"]
    })
}

fn source_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 4095,
        "pattern": r"^/[^\x00]*[^/\x00]$",
        "not": { "pattern": r"/\.\.(/|$)" },
        "examples": ["/usr/share/web-fleet/usr.sbin.nginx"]
    })
}

fn sha256_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^[0-9A-Fa-f]{64}$",
        "examples": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    })
}

/// None of `fields` is there.
fn none_of(fields: &[&str]) -> Value {
    let never: serde_json::Map<_, _> = fields.iter().map(|field| ((*field).to_owned(), json!(false))).collect();
    json!({ "properties": never })
}

/// An absent file has no text and none of `more`; one that is present has one of `sources`.
fn state_rule(more: &[&str], sources: &[&str]) -> Value {
    json!({
        "if": { "properties": { "state": { "const": "absent" } }, "required": ["state"] },
        "then": none_of(&[&["content", "content_base64", "source", "sha256"], more].concat()),
        "else": { "anyOf": sources.iter().map(|source| json!({ "required": [source] })).collect::<Vec<_>>() }
    })
}

/// A profile's file has a name, unless a service gives it one; the name is then a plain one.
fn file_rule() -> Value {
    json!({
        "if": { "required": ["service"] },
        "then": { "properties": { "file": { "pattern": "^[A-Za-z0-9._+@-]*$" } } },
        "else": { "required": ["file"] }
    })
}

/// The fields that bring text exclude each other, and all of them each of `others`.
fn exclusions(others: &[&str]) -> Value {
    let mut excluded = json!({
        "content": none_of(&[&["content_base64", "source"], others].concat()),
        "content_base64": none_of(&[&["content", "source"], others].concat()),
        "source": none_of(&[&["content", "content_base64"], others].concat())
    });
    if others.contains(&"service") {
        let others = others.iter().copied().filter(|other| *other != "service");
        let texts = ["content", "content_base64", "source"];
        excluded["service"] = none_of(&texts.into_iter().chain(others).collect::<Vec<_>>());
    }
    excluded
}

/// Removing everything must be asked for.
fn pruning_rule() -> Value {
    json!({
        "if": { "properties": { "prune": { "const": true } }, "required": ["prune"] },
        "then": { "anyOf": [
            { "properties": { "allow_empty": { "const": true } }, "required": ["allow_empty"] },
            { "properties": { "files": { "minItems": 1 } }, "required": ["files"] },
            { "properties": { "profiles": { "minItems": 1 } }, "required": ["profiles"] }
        ] }
    })
}
