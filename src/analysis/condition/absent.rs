//! Values that do not exist: the functions that `strict` writes into an expression, and what they find out.

use std::mem::discriminant;
use std::sync::{Mutex, PoisonError};

use expr::{Environment, Error, Result, Value};

use super::strict::Place;

/// Why an evaluation found nothing where something was needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// One clause that names the place.
    pub(super) why: String,
    /// The place, as written.
    pub(super) place: String,
    /// Whether it is a field or a null, which this API reads as nil.
    pub(super) is_nil: bool,
}

/// Remembers the first absence of one evaluation.
#[derive(Debug)]
pub(super) struct Absences<'a> {
    places: &'a [Place],
    first: Mutex<Option<Absence>>,
}

impl<'a> Absences<'a> {
    /// For a condition that looks at these places.
    pub(super) fn new(places: &'a [Place]) -> Self {
        Self { places, first: Mutex::default() }
    }

    /// What was absent, if anything was.
    pub(super) fn into_first(self) -> Option<Absence> {
        self.first.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the functions to an environment.
    pub(super) fn add_to<'b>(&'b self, environment: &mut Environment<'b>) {
        environment.add_function("_at", |call| {
            let [whole, key, number] = <[Value; 3]>::try_from(call.args).map_err(|_| misused())?;
            self.at(whole, &key, self.place(&number)?)
        });
        environment.add_function("_opt", |call| {
            let [whole, key, number] = <[Value; 3]>::try_from(call.args).map_err(|_| misused())?;
            if whole.is_nil() { Ok(whole) } else { self.at(whole, &key, self.place(&number)?) }
        });
        environment.add_function("_some", |call| {
            let [value, number] = <[Value; 2]>::try_from(call.args).map_err(|_| misused())?;
            let place = self.place(&number)?;
            if !value.is_nil() {
                return Ok(value);
            }
            let why = if place.part.ends_with(')') { "does not exist" } else { "is null" };
            Err(self.absent(place, format!("{} {why}", place.part), true))
        });
    }

    fn place(&self, number: &Value) -> Result<&Place> {
        let number = number.as_integer().and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.places.get(number)).ok_or_else(misused)
    }

    /// A part of a value.
    fn at(&self, whole: Value, key: &Value, place: &Place) -> Result<Value> {
        let (name, part) = (&place.whole, &place.part);
        let found = match (whole, key) {
            (Value::Nil, _) => {
                return Err(self.absent(place, format!("{name} is null, so {part} does not exist"), true));
            }
            (Value::Array(mut items), Value::Integer(index)) => {
                let Some(position) = position(*index, items.len()) else {
                    let many = if items.len() == 1 { "" } else { "s" };
                    let why = format!("{name} has {} value{many}, so {part} does not exist", items.len());
                    return Err(self.absent(place, why, false));
                };
                Some(items.swap_remove(position))
            }
            (Value::Bytes(bytes), Value::Integer(index)) => {
                position(*index, bytes.len()).and_then(|at| bytes.get(at)).map(|byte| i64::from(*byte).into())
            }
            (Value::Map(mut fields), Value::String(key)) => fields.swap_remove(key),
            (Value::KeyedMap(fields), key) => {
                let is_it =
                    |candidate: &Value| discriminant(candidate) == discriminant(key) && candidate == key;
                fields.into_iter().find(|(candidate, _)| is_it(candidate)).map(|(_, value)| value)
            }
            _ => return Err(Error::ExprError(format!("there can be no {part}"))),
        };
        match found {
            None => Err(self.absent(place, format!("the answer has no {part}"), true)),
            Some(Value::Nil) => Err(self.absent(place, format!("{part} is null"), true)),
            Some(value) => Ok(value),
        }
    }

    fn absent(&self, place: &Place, why: String, is_nil: bool) -> Error {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| Absence { why: why.clone(), place: place.part.clone(), is_nil });
        Error::ExprError(why)
    }
}

/// Where an index leads, from the end when negative.
fn position(index: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let position = if index < 0 { length.checked_sub(distance)? } else { distance };
    (position < length).then_some(position)
}

fn misused() -> Error {
    Error::ExprError("it cannot be evaluated".to_owned())
}
