//! The automata in compiled policy: tables in flex's layout, big-endian, that the kernel walks byte by byte (kernel
//! `security/apparmor/match.c`, `aa_dfa_unpack`; parser `libapparmor_re/chfa.cc`, `flex_table_serialize`).
//!
//! A state's transition on a class of bytes stands at `next[base + class]` if `check[base + class]` names the state;
//! all its other transitions go to `default`. A state that is *differentially encoded* asks its default state instead,
//! with the same byte.
//!
//! **Invariant:** every state that a table names exists, every state's transitions are within the tables, and no chain
//! of differentially encoded states is a circle, so that no walk can leave the tables or fail to end.

/// A state: an index into the tables.
pub(super) type State = u32;

/// From which nothing matches any more.
pub(super) const DEAD: State = 0;
/// Where the walk over an executable's path begins: the kernel reads no other from policy
/// (`policy_unpack.c`, `unpack_profile`: `start[AA_CLASS_XMATCH] = DFA_START`).
pub(super) const START: State = 1;

const MAGIC: u32 = 0x1b5e_783d;
const DIFFERENTIAL: u32 = 1 << 31;
const OUT_OF_BAND: u32 = 1 << 29;
const FLAGS: u32 = 0xff00_0000;

/// The tables as numbers, whatever their width in the file was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dfa {
    /// What each state accepts: permissions, or an index into a table of permissions.
    pub(super) accept: Vec<u32>,
    base: Vec<u32>,
    default: Vec<State>,
    next: Vec<State>,
    check: Vec<State>,
    /// The class of each byte; without such a table each byte is its own.
    classes: Box<[u8; 256]>,
}

impl Dfa {
    /// Reads the tables, with the checks of the kernel (`match.c`, `unpack_table`, `verify_table_headers`,
    /// `verify_dfa`).
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let word = |at: usize| be32(bytes, at).ok_or("the automaton's header is incomplete");
        if word(0)? != MAGIC {
            return Err("the automaton does not begin with its magic number".to_owned());
        }
        let header = usize::try_from(word(4)?).unwrap_or(usize::MAX);
        let flags = word(12)? >> 16;
        if flags & !3 != 0 {
            return Err(format!("the automaton has the flags {flags:#x}, which are unknown"));
        }
        let mut rest = bytes.get(header..).ok_or("the automaton's header is incomplete")?;
        let mut tables = Tables::default();
        while !rest.is_empty() {
            rest = tables.read_one(rest)?;
        }
        let dfa = tables.dfa()?;
        dfa.verify(flags)?;
        Ok(dfa)
    }

    fn verify(&self, flags: u32) -> Result<(), String> {
        let states = self.base.len();
        let exists = |state: &State| usize::try_from(*state).is_ok_and(|state| state < states);
        if states < 2 {
            return Err("the automaton has no start state".to_owned());
        }
        if self.accept.len() != states || self.default.len() != states || self.next.len() != self.check.len() {
            return Err("the automaton's tables differ in length".to_owned());
        }
        if ![&self.default, &self.next, &self.check].into_iter().flatten().all(exists) {
            return Err("the automaton names a state that it does not have".to_owned());
        }
        for base in &self.base {
            if base & FLAGS & !(DIFFERENTIAL | OUT_OF_BAND) != 0
                || base & DIFFERENTIAL != 0 && flags & 1 == 0
                || base & OUT_OF_BAND != 0 && (flags & 2 == 0 || base & !FLAGS == 0)
            {
                return Err(format!("the automaton has a state with the flags {:#x}", base & FLAGS));
            }
            if index(base & !FLAGS) + 255 >= self.next.len() {
                return Err("the automaton's transitions are not all there".to_owned());
            }
        }
        // Each state's chain of defaults is followed to where an earlier one was.
        let mut walked_from = vec![usize::MAX; states];
        for start in 0..states {
            let mut at = start;
            while self.base[at] & DIFFERENTIAL != 0 && walked_from[at] == usize::MAX {
                walked_from[at] = start;
                at = index(self.default[at]);
            }
            if self.base[at] & DIFFERENTIAL != 0 && walked_from[at] == start {
                return Err("the automaton's differential encoding goes round in a circle".to_owned());
            }
        }
        Ok(())
    }

    /// Says whether any state is differentially encoded.
    pub(super) fn is_differential(&self) -> bool {
        self.base.iter().any(|base| base & DIFFERENTIAL != 0)
    }

    /// For each state, where the bytes lead that the tables do not name, and where those do that they name, NUL left
    /// out. An automaton with differentially encoded states is another.
    pub(super) fn transitions(&self) -> Vec<(State, Vec<(u8, State)>)> {
        let mut bytes: Vec<u8> = (1..=u8::MAX).collect();
        bytes.sort_by_key(|byte| self.class(*byte));
        let mut transitions: Vec<_> = self.default.iter().map(|to| (*to, Vec::new())).collect();
        for (at, (state, to)) in self.check.iter().zip(&self.next).enumerate() {
            let class = at.checked_sub(index(self.base[index(*state)] & !FLAGS));
            let Some(class) = class.and_then(|class| u8::try_from(class).ok()) else { continue };
            let first = bytes.partition_point(|byte| self.class(*byte) < class);
            let named = bytes[first..].iter().take_while(|byte| self.class(**byte) == class);
            transitions[index(*state)].1.extend(named.map(|byte| (*byte, *to)));
        }
        transitions
    }

    fn class(&self, byte: u8) -> u8 {
        self.classes[usize::from(byte)]
    }

    /// Where `byte` leads (`match.c`, `match_char`).
    pub(super) fn step(&self, mut state: State, byte: u8) -> State {
        loop {
            match self.explicit(state, byte) {
                Some(next) => return next,
                None if self.base[index(state)] & DIFFERENTIAL != 0 => state = self.default[index(state)],
                None => return self.default[index(state)],
            }
        }
    }

    /// Where `byte` leads if differential encoding is overlooked, as the kernel does while it counts
    /// (`match.c`, `leftmatch_fb`).
    pub(super) fn step_overlooking_differences(&self, state: State, byte: u8) -> State {
        self.explicit(state, byte).unwrap_or(self.default[index(state)])
    }

    fn explicit(&self, state: State, byte: u8) -> Option<State> {
        let at = index(self.base[index(state)] & !FLAGS) + usize::from(self.class(byte));
        (self.check[at] == state).then(|| self.next[at])
    }
}

/// The tables as they are read, in whichever order.
#[derive(Default)]
struct Tables {
    accept: Option<Vec<u32>>,
    base: Option<Vec<u32>>,
    check: Option<Vec<u32>>,
    default: Option<Vec<u32>>,
    classes: Option<Vec<u32>>,
    accept2: Option<Vec<u32>>,
    next: Option<Vec<u32>>,
}

impl Tables {
    /// Reads a table, and returns what follows it.
    fn read_one<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let truncated = "the automaton's tables are not all there";
        let (head, count) = (be32(bytes, 0).ok_or(truncated)?, be32(bytes, 8).ok_or(truncated)?);
        let (kind, width) = (head >> 16, index(head & 0xffff));
        let (place, widths): (&mut Option<Vec<u32>>, &[usize]) = match kind {
            1 => (&mut self.accept, &[4]),
            2 => (&mut self.base, &[4]),
            3 => (&mut self.check, &[2, 4]),
            4 => (&mut self.default, &[2, 4]),
            5 => (&mut self.classes, &[1]),
            7 => (&mut self.accept2, &[4]),
            8 => (&mut self.next, &[2, 4]),
            _ => return Err(format!("the automaton has a table of kind {kind}, which is unknown")),
        };
        if !widths.contains(&width) {
            return Err(format!("the automaton's table of kind {kind} has entries of {width} bytes"));
        }
        let end = index(count).checked_mul(width).and_then(|length| length.checked_add(12)).ok_or(truncated)?;
        let entries = bytes.get(12..end).ok_or(truncated)?;
        let number = |entry: &[u8]| entry.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if place.replace(entries.chunks_exact(width).map(number).collect()).is_some() {
            return Err(format!("the automaton has two tables of kind {kind}"));
        }
        bytes.get(end.next_multiple_of(8)..).ok_or_else(|| truncated.to_owned())
    }

    fn dfa(self) -> Result<Dfa, String> {
        let (Some(accept), Some(base), Some(default), Some(next), Some(check)) =
            (self.accept, self.base, self.default, self.next, self.check)
        else {
            return Err("the automaton lacks a table".to_owned());
        };
        let mut classes = Box::new(std::array::from_fn(|byte| byte as u8));
        if let Some(table) = self.classes {
            let table: Option<Vec<u8>> = table.into_iter().map(|class| u8::try_from(class).ok()).collect();
            let table = table.and_then(|table| table.try_into().ok());
            classes = table.ok_or("the automaton does not give each byte a class")?;
        }
        Ok(Dfa { accept, base, default, next, check, classes })
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
