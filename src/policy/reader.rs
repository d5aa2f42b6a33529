//! The stream under the compiled format: a type byte, then what the type says (kernel
//! `security/apparmor/policy_unpack.c`, `enum aa_code`).
//!
//! **Invariant:** the position never leaves the bytes; every step forward is checked against what is left.

/// Why bytes are not compiled policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the compiled policy at byte {at}: {why}")]
pub struct Malformed {
    /// The offset in the blob, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
}

/// What opens and closes around elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Struct,
    List,
    Array,
}

/// One element of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// The name of the element that follows, with its final NUL.
    Name(&'a [u8]),
    /// A string, with its final NUL.
    String(&'a [u8]),
    U32(u32),
    Blob(&'a [u8]),
    Open(Container),
    Close(Container),
    /// A number of another width.
    Other,
}

/// One element in a profile's struct, and where it stands.
pub(super) struct Entry<'a> {
    /// Its offset, in bytes.
    pub(super) at: usize,
    /// The name of the profile's own field that it is or belongs to, with its final NUL; empty if that has none.
    pub(super) field: &'a [u8],
    /// How many containers are around it, the profile's struct included.
    pub(super) depth: usize,
    pub(super) element: Element<'a>,
}

const U8: u8 = 0;
const U16: u8 = 1;
const U32: u8 = 2;
const U64: u8 = 3;
const NAME: u8 = 4;
const STRING: u8 = 5;
const BLOB: u8 = 6;
const STRUCT: u8 = 7;
const STRUCT_END: u8 = 8;
const LIST: u8 = 9;
const LIST_END: u8 = 10;
const ARRAY: u8 = 11;
const ARRAY_END: u8 = 12;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Begins at the offset `at`.
    pub(super) fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The bytes from `start` up to the position.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or(&[])
    }

    /// Makes a refusal at the offset `at` out of a reason.
    pub(super) fn refuse_at(&self, at: usize) -> impl Fn(String) -> Malformed + use<> {
        move |why| Malformed { at, why }
    }

    /// Reads the next element; of a container only its beginning, the count that an array gives included.
    pub(super) fn element(&mut self) -> Result<Element<'a>, Malformed> {
        let at = self.at;
        let [code] = self.take()?;
        Ok(match code {
            U8 => self.skip(1)?,
            U16 => self.skip(2)?,
            U32 => Element::U32(u32::from_le_bytes(self.take()?)),
            U64 => self.skip(8)?,
            NAME => Element::Name(self.chunk()?),
            STRING => Element::String(self.chunk()?),
            BLOB => {
                let length = u32::from_le_bytes(self.take()?);
                Element::Blob(self.slice(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            STRUCT => Element::Open(Container::Struct),
            STRUCT_END => Element::Close(Container::Struct),
            LIST => Element::Open(Container::List),
            LIST_END => Element::Close(Container::List),
            ARRAY => {
                self.skip(2)?;
                Element::Open(Container::Array)
            }
            ARRAY_END => Element::Close(Container::Array),
            unknown => return Err(self.refuse_at(at)(format!("no element has the type {unknown}"))),
        })
    }

    /// Reads on to the end of a struct that is open, and tells `visit` of everything in it but names and ends.
    pub(super) fn rest_of_struct(
        &mut self,
        mut visit: impl FnMut(Entry<'a>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut open = vec![Container::Struct];
        let (mut name, mut field): (&[u8], &[u8]) = (b"", b"");
        while let Some(innermost) = open.last() {
            let at = self.at;
            let depth = open.len();
            let element = self.element()?;
            if depth == 1 {
                field = name;
            }
            name = b"";
            match element {
                Element::Name(read) => {
                    name = read;
                    continue;
                }
                Element::Close(container) if container == *innermost => {
                    open.pop();
                    continue;
                }
                Element::Close(_) => return Err(self.refuse_at(at)("a container ends that is not open".to_owned())),
                Element::Open(container) => open.push(container),
                Element::String(_) | Element::U32(_) | Element::Blob(_) | Element::Other => {}
            }
            visit(Entry { at, field, depth, element })?;
        }
        Ok(())
    }

    /// Reads the next element, which must be a string of UTF-8.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let at = self.at;
        match self.element()? {
            Element::String(bytes) => text_of(bytes, self.refuse_at(at)),
            _ => Err(self.refuse_at(at)("a string is expected here".to_owned())),
        }
    }

    /// Reads a string field if the next element is its name; else nothing.
    pub(super) fn field_if_next(&mut self, name: &[u8]) -> Result<Option<&'a str>, Malformed> {
        let mut ahead = Reader { bytes: self.bytes, at: self.at };
        if ahead.element().ok() != Some(Element::Name(name)) {
            return Ok(None);
        }
        let text = ahead.text()?;
        *self = ahead;
        Ok(Some(text))
    }

    /// The bytes after a 16-bit length.
    fn chunk(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u16::from_le_bytes(self.take()?);
        self.slice(usize::from(length))
    }

    fn skip(&mut self, length: usize) -> Result<Element<'a>, Malformed> {
        self.slice(length).map(|_| Element::Other)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let at = self.at;
        self.slice(N)?.try_into().map_err(|_| self.refuse_at(at)(TRUNCATED.to_owned()))
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let found = self.at.checked_add(length).and_then(|end| Some((self.bytes.get(self.at..end)?, end)));
        let (slice, end) = found.ok_or_else(|| self.refuse_at(self.at)(TRUNCATED.to_owned()))?;
        self.at = end;
        Ok(slice)
    }
}

const TRUNCATED: &str = "the bytes end before what they announce";

/// The text of a string: UTF-8 without its final NUL and without any other.
pub(super) fn text_of(string: &[u8], refuse: impl Fn(String) -> Malformed) -> Result<&str, Malformed> {
    match string.split_last() {
        Some((0, text)) if !text.contains(&0) => std::str::from_utf8(text)
            .map_err(|_| refuse(format!("`{}` is not UTF-8, which this program needs of names", text.escape_ascii()))),
        _ => Err(refuse("a string does not end with its only NUL".to_owned())),
    }
}

/// Appends the name of the element that follows; `name` ends with NUL and is short.
pub(super) fn write_name(out: &mut Vec<u8>, name: &[u8; 10]) {
    out.extend([NAME, 10, 0]);
    out.extend(name);
}

/// Appends a string, its NUL included; `None` if it is too long for the format.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) -> Option<()> {
    let length = u16::try_from(text.len()).ok()?.checked_add(1)?;
    out.push(STRING);
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
    Some(())
}
