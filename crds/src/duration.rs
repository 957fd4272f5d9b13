//! Durations as users write them: one number and one unit.

use std::{borrow::Cow, fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// `500ms`, `15s`, `2m` or `12h`. Text that the schema let pass always has a length; the type keeps what was written,
/// so that a resource reads back as its author left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(String);

pub const PATTERN: &str = "^[0-9]{1,8}(ms|s|m|h)$";

impl Duration {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// None for text that the schema refuses.
    pub fn length(&self) -> Option<time::Duration> {
        let digits = self.0.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = self.0.split_at(digits);
        let number: u64 = number.parse().ok()?;
        match unit {
            "ms" => Some(time::Duration::from_millis(number)),
            "s" => Some(time::Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(time::Duration::from_secs),
            "h" => number.checked_mul(3600).map(time::Duration::from_secs),
            _ => None,
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 10, "pattern": PATTERN})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_its_length() {
        for (text, millis) in [("500ms", 500), ("15s", 15_000), ("2m", 120_000), ("12h", 43_200_000)] {
            assert_eq!(Duration::new(text).length(), Some(time::Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_text_has_none() {
        for text in ["", "15", "s", "1.5s", "-1s", "1h30m", "1d", " 1s"] {
            assert_eq!(Duration::new(text).length(), None, "{text}");
        }
    }
}
