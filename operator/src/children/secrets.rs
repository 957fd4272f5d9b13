//! Secrets that the operator makes.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::Parent;
use crate::{members::observe::TOKEN, names};

/// With the token of the members' authenticated port. Made once: a live token stays, `fresh` is used where there is
/// none.
pub fn admin(parent: &Parent, live: Option<&Secret>, fresh: &str) -> Secret {
    let token = live.and_then(|live| value(live, TOKEN)).unwrap_or_else(|| text(fresh));
    secret(parent, names::admin(&parent.name), BTreeMap::from([(TOKEN.to_owned(), token)]), live)
}

/// `live`: the one that there is, some of whose values it may keep. They are put into no other object: who deletes a
/// Secret wants other values, also where that comes between look and write.
pub fn secret(
    parent: &Parent,
    name: String,
    data: BTreeMap<String, ByteString>,
    live: Option<&Secret>,
) -> Secret {
    let uid = live.and_then(|live| live.metadata.uid.clone());
    Secret {
        metadata: ObjectMeta { uid, ..parent.metadata(name) },
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// None for a key that is missing or empty.
pub fn value(secret: &Secret, key: &str) -> Option<ByteString> {
    secret.data.as_ref()?.get(key).filter(|value| !value.0.is_empty()).cloned()
}

pub fn text(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
