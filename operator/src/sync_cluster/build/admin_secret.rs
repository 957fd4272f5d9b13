//! Secret with the token of the members' authenticated port.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{super::validate::Valid, metadata};
use crate::names;

/// Key of the token in the Secret, and name of its file in the pod.
pub const TOKEN: &str = "token";

/// Made once: a live token stays, `fresh` is used where there is none.
pub fn admin_secret(valid: &Valid, live: Option<&Secret>, fresh: &str) -> Secret {
    let present =
        live.and_then(|secret| secret.data.as_ref()?.get(TOKEN)).filter(|token| !token.0.is_empty());
    let token = present.cloned().unwrap_or_else(|| ByteString(fresh.as_bytes().to_vec()));
    Secret {
        metadata: metadata(valid, names::admin(&valid.name)),
        data: Some(BTreeMap::from([(TOKEN.to_owned(), token)])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
