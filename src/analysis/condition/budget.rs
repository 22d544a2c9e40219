//! What an evaluation may cost: every read of a value and every run of a closure is paid for.
//!
//! Together with the limits of `scan`, this bounds time and memory: what an operator or a function does is in
//! proportion to the values it was given, and those were paid for when they were read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use expr::{Context, ContextProvider, Value};

/// Units of one evaluation, one per value read and a few per run of a closure. All of it takes some 50 ms.
const UNITS: u64 = 500_000;
/// Most values in one intermediate result, a text counting one per 8 bytes.
const MAX_SIZE: u64 = 20_000;
/// Deepest nesting of one intermediate result.
const MAX_DEPTH: u32 = 16;
/// Longest text a function may build, in bytes.
const MAX_TEXT: usize = 65_536;

/// An evaluation that was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The units are used up.
    #[error("it takes too much work for one measurement")]
    TooMuchWork,
    /// A value became too large.
    #[error("it builds a value that is too large")]
    TooLarge,
}

/// What is left of one evaluation's units.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    run_cost: u64,
}

impl Budget {
    /// A full budget; `run_cost` is the price of one run of a closure.
    pub(super) fn new(run_cost: u64) -> Self {
        Self { left: AtomicU64::new(UNITS), run_cost }
    }

    /// Whether the units were used up.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, units: u64) -> Result<(), Refused> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(units);
        self.left.store(left, Ordering::Relaxed);
        if left == 0 { Err(Refused::TooMuchWork) } else { Ok(()) }
    }

    /// Pays one run of a closure.
    pub(super) fn spend_run(&self) -> Result<(), Refused> {
        self.spend(self.run_cost)
    }

    /// Pays for work that grows with the square of `length`; a comparison is cheaper than a run.
    pub(super) fn spend_square(&self, length: usize) -> Result<(), Refused> {
        let length = length as u64;
        self.spend(length.saturating_mul(length) / 8)
    }

    /// Refuses a text of more than `length` bytes, and pays for it.
    pub(super) fn check_text(&self, length: usize) -> Result<(), Refused> {
        if length > MAX_TEXT {
            return Err(Refused::TooLarge);
        }
        self.spend(length as u64 / 8)
    }

    /// Refuses a value that has grown too large or too deep, and pays for looking.
    pub(super) fn check_size(&self, value: &Value) -> Result<(), Refused> {
        let size = size(value, MAX_DEPTH);
        if size > MAX_SIZE {
            return Err(Refused::TooLarge);
        }
        self.spend(size)
    }

    /// Pays for a copy of `value`.
    fn read(&self, value: &Value) -> Result<(), Refused> {
        self.spend(size(value, MAX_DEPTH))
    }
}

/// Values in `value`, itself included; more than any limit when it is nested deeper than `depth`.
fn size(value: &Value, depth: u32) -> u64 {
    let Some(depth) = depth.checked_sub(1) else { return u64::from(u32::MAX) };
    let all = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(1_u64, u64::saturating_add);
    match value {
        Value::String(text) => 1 + text.len() as u64 / 8,
        Value::Bytes(bytes) => 1 + bytes.len() as u64 / 8,
        Value::Array(values) => all(&mut values.iter().map(|value| size(value, depth))),
        Value::Map(map) => {
            all(&mut map.iter().map(|(key, value)| 1 + key.len() as u64 / 8 + size(value, depth)))
        }
        Value::KeyedMap(map) => {
            all(&mut map.iter().map(|(key, value)| size(key, depth).saturating_add(size(value, depth))))
        }
        _ => 1,
    }
}

/// The variables of an evaluation. Without units left, there are none.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) budget: &'a Budget,
}

impl ContextProvider for Variables<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| self.budget.read(value).is_ok())
    }

    fn to_context(&self) -> Context {
        Context::default()
    }
}

/// The variables of a closure, before those around it.
pub(super) struct Bindings<'a, const N: usize> {
    pub(super) parent: &'a dyn ContextProvider,
    pub(super) budget: &'a Budget,
    pub(super) values: [(&'static str, Value); N],
}

impl<const N: usize> ContextProvider for Bindings<'_, N> {
    fn get(&self, key: &str) -> Option<&Value> {
        match self.values.iter().find(|(name, _)| *name == key) {
            Some((_, value)) => Some(value).filter(|value| self.budget.read(value).is_ok()),
            None => self.parent.get(key),
        }
    }

    fn to_context(&self) -> Context {
        Context::default()
    }
}
