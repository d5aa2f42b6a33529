//! The tables of a ledger: what many records share is kept once, and records have its number.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Basis, Toolchain};
use crate::profile::FileName;
use crate::tree::Input;

/// What the records of a ledger point into.
///
/// **Invariant:** inputs are distinct, and those that were read have no number that points outside of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    /// What the lists point into.
    pub(super) inputs: Vec<Input>,
    /// The lists of inputs that [`Basis::inputs`] points into, each ascending: profiles with the same includes share
    /// one.
    pub(super) input_lists: Vec<Vec<u32>>,
    /// What [`Basis::toolchain`] points into.
    pub(super) toolchains: Vec<Toolchain>,
}

impl Tables {
    /// Says what points outside of a table, if anything does.
    pub(super) fn check<'r>(&self, records: impl IntoIterator<Item = (&'r FileName, &'r Basis)>) -> Result<(), String> {
        if self.input_lists.iter().flatten().any(|id| *id as usize >= self.inputs.len()) {
            return Err("a list of inputs points outside of their table".to_owned());
        }
        for (file, basis) in records {
            let known =
                (basis.inputs as usize) < self.input_lists.len() && (basis.toolchain as usize) < self.toolchains.len();
            if !known {
                return Err(format!("the record of `{file}` points outside of its tables"));
            }
        }
        Ok(())
    }

    /// The tables with nothing but what these use, which point into the new ones from then on.
    pub(super) fn narrowed<'r>(&self, bases: impl IntoIterator<Item = &'r mut Basis>) -> Self {
        let mut lists = Used::of(&self.input_lists);
        let mut toolchains = Used::of(&self.toolchains);
        for basis in bases {
            basis.toolchain = toolchains.renumber(basis.toolchain);
            basis.inputs = lists.renumber(basis.inputs);
        }
        let mut input_lists = lists.values;
        let mut inputs = Used::of(&self.inputs);
        for list in &mut input_lists {
            list.iter_mut().for_each(|id| *id = inputs.renumber(*id));
            list.sort_unstable();
        }
        Self { inputs: inputs.values, input_lists, toolchains: toolchains.values }
    }
}

/// Tables that grow.
#[derive(Debug)]
pub(super) struct Growing {
    inputs: Interner<Input>,
    input_lists: Interner<Vec<u32>>,
    toolchains: Interner<Toolchain>,
}

impl From<Tables> for Growing {
    fn from(tables: Tables) -> Self {
        Self {
            inputs: tables.inputs.into(),
            input_lists: tables.input_lists.into(),
            toolchains: tables.toolchains.into(),
        }
    }
}

impl From<Growing> for Tables {
    fn from(growing: Growing) -> Self {
        Self {
            inputs: growing.inputs.values,
            input_lists: growing.input_lists.values,
            toolchains: growing.toolchains.values,
        }
    }
}

impl Growing {
    /// The number of a list of inputs.
    pub(super) fn input_list<'i>(&mut self, inputs: impl IntoIterator<Item = &'i Input>) -> u32 {
        let mut numbers: Vec<u32> = inputs.into_iter().map(|input| self.inputs.intern(input)).collect();
        numbers.sort_unstable();
        self.input_lists.intern(&numbers)
    }

    /// The number of a toolchain.
    pub(super) fn toolchain(&mut self, toolchain: &Toolchain) -> u32 {
        self.toolchains.intern(toolchain)
    }

    /// Takes in other tables, for what points into those and points into these from then on.
    pub(super) fn adopt<'r>(&mut self, tables: &Tables, bases: impl IntoIterator<Item = &'r mut Basis>) {
        let input = |id: &u32| &tables.inputs[*id as usize];
        let lists: Vec<u32> = tables.input_lists.iter().map(|list| self.input_list(list.iter().map(input))).collect();
        let toolchains: Vec<u32> = tables.toolchains.iter().map(|toolchain| self.toolchain(toolchain)).collect();
        for basis in bases {
            basis.inputs = lists[basis.inputs as usize];
            basis.toolchain = toolchains[basis.toolchain as usize];
        }
    }
}

#[derive(Debug)]
struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> From<Vec<T>> for Interner<T> {
    fn from(values: Vec<T>) -> Self {
        let numbers = values.iter().cloned().zip(0..).collect();
        Self { values, numbers }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn intern(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}

/// The values of a table that are used, numbered anew in the order of their first use.
struct Used<'t, T> {
    table: &'t [T],
    numbers: Vec<Option<u32>>,
    values: Vec<T>,
}

impl<'t, T: Clone> Used<'t, T> {
    fn of(table: &'t [T]) -> Self {
        Self { table, numbers: vec![None; table.len()], values: Vec::new() }
    }

    fn renumber(&mut self, old: u32) -> u32 {
        let at = old as usize;
        *self.numbers[at].get_or_insert_with(|| {
            self.values.push(self.table[at].clone());
            // There are no more than in the table, whose numbers fit.
            self.values.len() as u32 - 1
        })
    }
}
