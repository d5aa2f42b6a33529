//! The JSON Schemas of what goes in and what comes out.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of `T` (draft 2020-12) under the name `aa-converge:<name>:v<version>`.
#[must_use]
pub fn of<T: JsonSchema>(name: &str, version: u32, title: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("urn:aa-converge:{name}:v{version}").into());
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
