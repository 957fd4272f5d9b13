//! Secrets: passwords as the members read them, and those that are generated.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use quartet_crds::galera_cluster::User;

use super::super::{
    CLIENT_PORT, Seen,
    validate::{PASSWORD, USERNAME, Valid},
};
use crate::{
    children::{hash, secrets},
    names,
};

/// All users' passwords in one object, so that a new user needs no new pod. One whose Secret has gone keeps what it has.
pub fn passwords(valid: &Valid, seen: &Seen, fresh: &str) -> Secret {
    let name = names::passwords(&valid.parent.name);
    let live = seen.made.get(&name);
    let data = valid
        .spec
        .users
        .iter()
        .filter_map(|user| {
            let password = match &user.password_secret_ref {
                Some(named) => {
                    seen.named.get(&named.name).and_then(|secret| secrets::value(secret, &named.key))
                }
                None => Some(generated(valid, seen, user, fresh)),
            };
            let password = password.or_else(|| secrets::value(live?, &user.name))?;
            Some((user.name.clone(), password))
        })
        .collect();
    secrets::secret(&valid.parent, name, data, live)
}

/// Made once: a live password stays.
fn generated(valid: &Valid, seen: &Seen, user: &User, fresh: &str) -> ByteString {
    let live = of_user(valid, seen, user);
    live.and_then(|live| secrets::value(live, PASSWORD))
        .unwrap_or_else(|| secrets::text(&secret(fresh, &user.name)))
}

fn of_user<'a>(valid: &Valid, seen: &'a Seen, user: &User) -> Option<&'a Secret> {
    seen.made.get(&names::user(&valid.parent.name, &user.name))
}

/// One of several of the same fresh bytes; nobody learns one from another.
fn secret(fresh: &str, purpose: &str) -> String {
    format!("{}{}", hash([fresh, purpose, "0"]), hash([fresh, purpose, "1"]))
}

/// What an application needs to reach its database.
pub fn of_users(valid: &Valid, seen: &Seen, fresh: &str) -> Vec<Secret> {
    let parent = &valid.parent;
    let users = valid.spec.users.iter().filter(|user| user.password_secret_ref.is_none());
    users
        .map(|user| {
            let mut data = BTreeMap::from([
                (USERNAME.to_owned(), secrets::text(&user.name)),
                (PASSWORD.to_owned(), generated(valid, seen, user, fresh)),
                ("host".to_owned(), secrets::text(&format!("{}.{}.svc", parent.name, parent.namespace))),
                ("port".to_owned(), secrets::text(&CLIENT_PORT.to_string())),
            ]);
            data.extend(
                user.database.iter().map(|database| ("database".to_owned(), secrets::text(database))),
            );
            let live = of_user(valid, seen, user);
            secrets::secret(parent, names::user(&parent.name, &user.name), data, live)
        })
        .collect()
}

/// None where the spec names another.
pub fn stats(valid: &Valid, seen: &Seen, fresh: &str) -> Option<Secret> {
    if valid.spec.proxy.stats.credentials_secret_ref.is_some() {
        return None;
    }
    let name = names::proxy_stats(&valid.parent.name);
    let live = seen.made.get(&name);
    let kept = |key: &str| secrets::value(live?, key);
    let data = [
        (USERNAME.to_owned(), kept(USERNAME).unwrap_or_else(|| secrets::text("stats"))),
        (PASSWORD.to_owned(), kept(PASSWORD).unwrap_or_else(|| secrets::text(&secret(fresh, &name)))),
    ];
    Some(secrets::secret(&valid.parent, name, data.into(), live))
}

/// The Secret with the credentials of the proxies' statistics, whoever made it.
pub fn stats_name(valid: &Valid) -> String {
    let named = valid.spec.proxy.stats.credentials_secret_ref.as_ref().map(|named| named.name.clone());
    named.unwrap_or_else(|| names::proxy_stats(&valid.parent.name))
}
