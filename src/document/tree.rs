//! JSON as it stands: every entry of every object, equal keys too, in the document's order.
//!
//! Strings without escapes are borrowed from the input. What could make reading costly is bounded here, before
//! anything looks at the meaning: bytes, nesting, the number of values, the length of a key.
//!
//! **Invariant:** a tree nests at most [`MAX_DEPTH`] arrays and objects and has at most [`MAX_VALUES`] values, so that
//! recursion over it is safe and its memory is bounded by the document's size plus a constant.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::MAX_DOCUMENT;
use crate::problem::{Problem, ProblemCode};

/// How deep arrays and objects may nest; version 1 needs four levels.
pub(super) const MAX_DEPTH: usize = 32;
/// How many values a document may hold in all: ten for every entry of two full lists.
pub(super) const MAX_VALUES: usize = 20 * super::MAX_ENTRIES;
/// How many bytes a key may have: keys are repeated in problems and their pointers.
pub(super) const MAX_KEY: usize = 1024;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl Value<'_> {
    /// The value's type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads exactly one JSON value.
pub(super) fn read(json: &[u8]) -> Result<Value<'_>, Problem> {
    if json.len() > MAX_DOCUMENT {
        // The reader may have stopped here, so that the figure is a lower bound.
        let message = format!("the document has at least {} bytes; the limit is 64 MiB", json.len());
        return Err(Problem::new("", ProblemCode::TooLarge, message).allowed(format!("at most {MAX_DOCUMENT} bytes")));
    }
    let text = std::str::from_utf8(json).map_err(|error| {
        not_json(format!("the document is not UTF-8: byte {} (counted from 0) is wrong", error.valid_up_to()))
            .allowed("JSON in UTF-8; policy text of another encoding goes into `content_base64`")
    })?;
    if text.starts_with('\u{feff}') {
        return Err(not_json("the document starts with a byte order mark").allowed("JSON in UTF-8 without the mark"));
    }
    if text.trim_ascii().is_empty() {
        return Err(not_json("the document is empty").allowed("a JSON object"));
    }
    let mut limits = Limits { values: 0, exceeded: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Seed { depth: 0, limits: &mut limits }.deserialize(&mut json);
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| match limits.exceeded {
        Some(allowed) => Problem::new("", ProblemCode::TooLarge, error.to_string()).allowed(allowed),
        None => not_json(format!("the document is not JSON: {error}")),
    })
}

fn not_json(message: impl Into<String>) -> Problem {
    Problem::new("", ProblemCode::NotJson, message)
}

/// What has been read so far, and the limit that ended the reading.
struct Limits {
    values: usize,
    exceeded: Option<String>,
}

impl Limits {
    /// An error for serde_json to carry out, with the line and column that it adds.
    fn exceed<E: serde::de::Error>(&mut self, what: impl fmt::Display, allowed: String) -> E {
        self.exceeded = Some(allowed);
        E::custom(what)
    }
}

/// Reads one value that stands inside `depth` arrays and objects.
struct Seed<'l> {
    depth: usize,
    limits: &'l mut Limits,
}

impl Seed<'_> {
    /// The seed for values inside this one.
    fn inner(&mut self) -> Seed<'_> {
        Seed { depth: self.depth + 1, limits: self.limits }
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth == MAX_DEPTH {
            return Err(self.limits.exceed("arrays and objects nest too deep", format!("at most {MAX_DEPTH} levels")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        self.limits.values += 1;
        if self.limits.values > MAX_VALUES {
            return Err(self.limits.exceed("the document holds too many values", format!("at most {MAX_VALUES}")));
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value<'de>, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Value<'de>, A::Error> {
        self.enter()?;
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(self.inner())? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value<'de>, A::Error> {
        self.enter()?;
        let mut entries = Vec::new();
        while let Some(key) = object.next_key_seed(Key)? {
            if key.len() > MAX_KEY {
                let what = format!("a key has {} bytes", key.len());
                return Err(self.limits.exceed(what, format!("at most {MAX_KEY} bytes in a key")));
            }
            entries.push((key, object.next_value_seed(self.inner())?));
        }
        Ok(Value::Object(entries))
    }
}

/// Reads a key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Cow<'de, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
