//! Sizes as users write them: Kubernetes quantities of bytes.

use std::{borrow::Cow, cmp::Ordering, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A whole number of bytes with an optional unit: `256Mi`, `1Gi`, `1G`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(String);

pub const PATTERN: &str = "^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti|k|M|G|T)?$";

impl Bytes {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// None for text that the schema refuses.
    pub fn bytes(&self) -> Option<u128> {
        self.0.starts_with(|c: char| c.is_ascii_digit()).then(|| milli(&self.0))?.map(|milli| milli / 1000)
    }
}

/// Any quantity of Kubernetes without an exponent, in thousandths (`100m` of a processor is a whole number of them),
/// rounded up as Kubernetes does. None for text that is not one.
pub fn milli(text: &str) -> Option<u128> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 3 {
        return None;
    }
    let scale: u128 = match unit {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "P" => 1000 * 1000_u128.pow(5),
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        _ => return None,
    };
    let digits = format!("{whole}{fraction:0<3}").parse::<u128>().ok()?;
    Some(digits.checked_mul(scale)?.div_ceil(1000))
}

/// How two quantities compare; None when one of them is none.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    Some(milli(left)?.cmp(&milli(right)?))
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 16, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_and_decimal() {
        assert_eq!(Bytes::new("1Gi").bytes(), Some(1 << 30));
        assert_eq!(Bytes::new("256Mi").bytes(), Some(256 << 20));
        assert_eq!(Bytes::new("1G").bytes(), Some(1_000_000_000));
        assert_eq!(Bytes::new("512").bytes(), Some(512));
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!(milli("100m"), Some(100));
        assert_eq!(milli("1.5"), Some(1500));
        assert_eq!(compare("1", "1000m"), Some(Ordering::Equal));
        assert_eq!(compare("1Gi", "1G"), Some(Ordering::Greater));
    }

    /// The API server writes `0.5m` as `1m` and a fraction of a byte in thousandths: no difference to write about.
    #[test]
    fn amounts_are_what_the_api_server_makes_of_them() {
        assert_eq!(compare("0.5m", "1m"), Some(Ordering::Equal));
        assert_eq!(compare("12.345Gi", "13255342817280m"), Some(Ordering::Equal));
        assert_eq!(compare("999999999999.999Ti", "1099511627775998900488372224m"), Some(Ordering::Equal));
        assert_eq!(milli(&format!("{}Pi", "9".repeat(30))), None);
    }

    #[test]
    fn other_text_is_no_quantity() {
        for text in ["", "Gi", "-1", "1Zi", "1e3", "many"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
