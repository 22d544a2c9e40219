//! Resource quantities in the form in which Kubernetes writes them back.
//!
//! Kubernetes parses `1000m` and writes `1`, parses `0.5` and writes `500m`, but keeps the text of a quantity that
//! looks canonical to a cheap test (`1.500`, `+250m`, `0100Mi` stay as they are). Both halves are reproduced here,
//! because a hash over the written form sees the difference. Deliberately absent: arithmetic and comparison.

use std::borrow::Cow;

/// Decimal digits that a signed 64-bit integer holds for certain: longer numbers take the exact path, which never
/// keeps the text.
const MAX_INT64_DIGITS: i64 = 18;
/// The smallest decimal exponent that a quantity can express (nano); finer values are rounded away from zero.
const NANO: i64 = -9;

/// The canonical form of `text`; `None` when it is not a quantity.
///
/// Source: `resource.Quantity` of k8s.io/apimachinery, parsed and written without a change in between.
pub(super) fn canonical(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() {
        return None;
    }
    let parts = split(text)?;
    let unit = Unit::parse(parts.suffix)?;
    match parts.reading(unit) {
        Reading::Kept => Some(Cow::Borrowed(text)),
        Reading::Exact => Some(Cow::Owned(parts.digits(unit).written(unit))),
        // The exact path reads the number anew and, unlike the fast one, insists on a digit.
        Reading::Rounded if parts.has_digit => {
            Some(Cow::Owned(parts.digits(unit).rounded(unit).written(unit)))
        }
        Reading::Rounded => None,
    }
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros, `0` when none are left.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
    has_digit: bool,
}

/// How Kubernetes reads a quantity.
enum Reading {
    /// Taken for canonical: written back as it came.
    Kept,
    /// As a 64-bit integer with a decimal exponent.
    Exact,
    /// As a number of any size, rounded up to nano and capped when binary.
    Rounded,
}

/// What a suffix says.
#[derive(Clone, Copy)]
enum Unit {
    /// `n` to `E`: a power of ten.
    Decimal(i64),
    /// `e3`: a power of ten, written back as an exponent.
    Exponent(i64),
    /// `Ki` to `Ei`: a power of two.
    Binary(u32),
}

/// The number `digits` × 10^`exponent`; no digits mean zero.
struct Digits {
    negative: bool,
    /// Values 0 to 9, most significant first, no leading zeros.
    digits: Vec<u8>,
    exponent: i64,
}

/// Splits sign, number and suffix; `None` when something follows the suffix.
fn split(text: &str) -> Option<Parts<'_>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, rest) = split_digits(unsigned);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    is_suffix(suffix).then_some(())?;
    let significant = whole.trim_start_matches('0');
    Some(Parts {
        negative: text.starts_with('-'),
        whole: if significant.is_empty() { "0" } else { significant },
        fraction,
        suffix,
        has_digit: !whole.is_empty() || !fraction.is_empty(),
    })
}

/// The leading decimal digits of `text` and what follows them.
fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether `text` has the shape of a suffix: unit letters, then an optionally signed number.
fn is_suffix(text: &str) -> bool {
    let rest = text.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    digits.bytes().all(|b| b.is_ascii_digit())
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        let unit = match suffix {
            "" => Self::Decimal(0),
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            exponent => Self::Exponent(exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?.into()),
        };
        Some(unit)
    }

    /// The decimal exponent that the suffix stands for; 0 for a binary one.
    fn decimal_exponent(self) -> i64 {
        match self {
            Self::Decimal(exponent) | Self::Exponent(exponent) => exponent,
            Self::Binary(_) => 0,
        }
    }

    /// The suffix for a decimal exponent that is a multiple of three. Beyond `E` there is none, and Kubernetes
    /// then writes the bare number.
    fn decimal_suffix(self, exponent: i64) -> String {
        let suffix = match (self, exponent) {
            (_, 0) => "",
            (Self::Exponent(_), _) => return format!("e{exponent}"),
            (_, -9) => "n",
            (_, -6) => "u",
            (_, -3) => "m",
            (_, 3) => "k",
            (_, 6) => "M",
            (_, 9) => "G",
            (_, 12) => "T",
            (_, 15) => "P",
            (_, 18) => "E",
            _ => "",
        };
        suffix.to_owned()
    }
}

impl Parts<'_> {
    /// The decimal exponent of the last digit.
    fn exponent(&self, unit: Unit) -> i64 {
        unit.decimal_exponent().saturating_sub(length(self.fraction))
    }

    /// Which of the three readings Kubernetes takes.
    fn reading(&self, unit: Unit) -> Reading {
        let whole = length(self.whole);
        match unit {
            Unit::Binary(power) => {
                // A power of two takes about three decimal digits per ten binary ones.
                let spare = 14 - whole - i64::from(power) * 3 / 10;
                if spare < 0 || !self.fraction.is_empty() {
                    Reading::Rounded
                } else if self.whole.parse::<u64>().is_ok_and(|value| value % 8 != 0) {
                    Reading::Kept
                } else {
                    Reading::Exact
                }
            }
            Unit::Decimal(_) | Unit::Exponent(_) => {
                let exponent = self.exponent(unit);
                if whole + length(self.fraction) > MAX_INT64_DIGITS || exponent < NANO {
                    Reading::Rounded
                } else if exponent % 3 == 0 && !self.ends_in_thousands() && !self.whole.starts_with('0') {
                    Reading::Kept
                } else {
                    Reading::Exact
                }
            }
        }
    }

    /// Whether the last three digits, the point left aside, are zeros.
    fn ends_in_thousands(&self) -> bool {
        let mut digits = self.whole.bytes().chain(self.fraction.bytes()).rev();
        (0..3).all(|_| digits.next() == Some(b'0'))
    }

    /// The number with the unit multiplied out.
    fn digits(&self, unit: Unit) -> Digits {
        let digits = self.whole.bytes().chain(self.fraction.bytes()).map(|b| b - b'0');
        let digits = digits.skip_while(|digit| *digit == 0).collect();
        let number = Digits { negative: self.negative, digits, exponent: self.exponent(unit) };
        match unit {
            Unit::Binary(power) => number.times(1 << power),
            Unit::Decimal(_) | Unit::Exponent(_) => number,
        }
    }
}

impl Digits {
    fn times(mut self, factor: u64) -> Self {
        let mut carry: u128 = 0;
        for digit in self.digits.iter_mut().rev() {
            carry += u128::from(*digit) * u128::from(factor);
            *digit = last_digit(&mut carry);
        }
        self.prepend(carry);
        self
    }

    /// Puts the digits of `carry` in front.
    fn prepend(&mut self, mut carry: u128) {
        let mut front = Vec::new();
        while carry > 0 {
            front.push(last_digit(&mut carry));
        }
        front.reverse();
        self.digits.splice(0..0, front);
    }

    /// Rounded away from zero to nano; a binary number also capped at the largest 64-bit integer.
    fn rounded(mut self, unit: Unit) -> Self {
        if self.exponent < NANO && !self.digits.is_empty() {
            self.drop_below(NANO);
        }
        let limit = i64::MAX.unsigned_abs();
        if matches!(unit, Unit::Binary(_)) && self.whole().is_none_or(|value| value >= limit) {
            self.digits.clear();
            self.prepend(u128::from(limit));
            self.exponent = 0;
        }
        self
    }

    /// Drops the digits under 10^`exponent` and adds one to the last digit kept if any of them was not zero.
    fn drop_below(&mut self, exponent: i64) {
        let dropped = usize::try_from(exponent - self.exponent).unwrap_or(usize::MAX);
        let kept = self.digits.len().saturating_sub(dropped);
        let inexact = self.digits.iter().skip(kept).any(|digit| *digit != 0);
        self.digits.truncate(kept);
        self.exponent = exponent;
        if inexact {
            let mut carry: u128 = 1;
            for digit in self.digits.iter_mut().rev() {
                carry += u128::from(*digit);
                *digit = last_digit(&mut carry);
            }
            self.prepend(carry);
        }
    }

    /// How many digits stand before the decimal point of a number whose exponent is not positive.
    fn whole_digits(&self) -> usize {
        let fraction = usize::try_from(self.exponent.saturating_neg()).unwrap_or(0);
        self.digits.len().saturating_sub(fraction)
    }

    /// The magnitude without its fraction, of a number whose exponent is not positive; `None` when it does not fit.
    fn whole(&self) -> Option<u64> {
        let mut digits = self.digits.iter().take(self.whole_digits()).copied().map(u64::from);
        digits.try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(digit))
    }

    /// The magnitude of a number whose exponent is not positive, if it is an integer that fits.
    fn integer(&self) -> Option<u64> {
        let mut fraction = self.digits.iter().skip(self.whole_digits());
        fraction.all(|digit| *digit == 0).then(|| self.whole()).flatten()
    }

    /// The canonical text.
    fn written(self, unit: Unit) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        match unit {
            Unit::Decimal(_) | Unit::Exponent(_) => self.decimal(unit),
            Unit::Binary(_) => match self.integer() {
                Some(value) if value >= 1024 => self.sign() + &binary(value),
                // Small and fractional numbers would lose precision.
                Some(_) | None => self.decimal(unit),
            },
        }
    }

    fn sign(&self) -> String {
        if self.negative { "-".to_owned() } else { String::new() }
    }

    /// The number with the largest multiple of three as exponent that leaves no fraction.
    fn decimal(mut self, unit: Unit) -> String {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
            self.exponent = self.exponent.saturating_add(1);
        }
        let pad = usize::try_from(self.exponent.rem_euclid(3)).unwrap_or(0);
        self.exponent -= self.exponent.rem_euclid(3);
        self.digits.extend(std::iter::repeat_n(0, pad));
        let mut text = self.sign();
        text.extend(self.digits.iter().map(|digit| char::from(b'0' + digit)));
        text + &unit.decimal_suffix(self.exponent)
    }
}

/// `value` with the largest binary suffix that leaves no fraction.
fn binary(mut value: u64) -> String {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    while value >= 1024 && value.is_multiple_of(1024) {
        value /= 1024;
        suffix = suffixes.next().unwrap_or_default();
    }
    format!("{value}{suffix}")
}

/// Takes the last decimal digit off `number`.
fn last_digit(number: &mut u128) -> u8 {
    let digit = u8::try_from(*number % 10).unwrap_or(0);
    *number /= 10;
    digit
}

/// The number of bytes of `text`, which is the number of its digits.
fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with the canonical form that Kubernetes gives them, `null` for malformed ones.
    const VECTORS: &str = include_str!("../../../tests/pod_hash/vectors.json");

    #[test]
    fn every_generated_quantity_has_the_form_that_kubernetes_gives_it() {
        let mut file: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let rows: Vec<Vec<(String, Option<String>)>> =
            serde_json::from_value(file["quantities"].take()).unwrap();
        let pairs: Vec<_> = rows.into_iter().flatten().collect();
        let wrong: Vec<_> =
            pairs.iter().filter(|(text, form)| canonical(text).as_deref() != form.as_deref()).collect();
        assert!(pairs.len() > 1000);
        assert!(wrong.is_empty(), "{} of {} differ: {wrong:?}", wrong.len(), pairs.len());
    }

    #[test]
    fn quantities_that_users_write_come_out_as_the_api_server_shows_them() {
        for (text, form) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("1.500", "1.500"),
            ("0", "0"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(form), "{text}");
        }
    }

    #[test]
    fn extreme_exponents_are_handled_without_writing_out_the_number() {
        assert_eq!(canonical("1e2147483647").as_deref(), Some("10e2147483646"));
        assert_eq!(canonical("1e-2147483648").as_deref(), Some("1e-9"));
        assert_eq!(canonical("1e99999999999999999999"), None);
    }
}
