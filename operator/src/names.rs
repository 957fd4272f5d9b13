//! Every name and label of a child object, in one place.
//!
//! A resource's name has at most [`LONGEST`] characters and is a DNS label, so that every name made of it is valid:
//! names of Services are DNS labels (63), and a pod's `controller-revision-hash` label holds the StatefulSet's name.

use std::{collections::BTreeMap, fmt::Display};

pub const LONGEST: usize = 40;

pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const NAME: &str = "app.kubernetes.io/name";
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Tells the pods of one resource apart, where there are several kinds of them.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Who `MANAGED_BY` names.
pub const QUARTET: &str = "quartet";

/// The operator's own pods, in its own namespace.
pub const OPERATOR: &str = "quartet-operator";

/// Set by Kubernetes on the pods of a StatefulSet.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
pub const REVISION: &str = "controller-revision-hash";

/// On the pod template: a change of settings is a change of the template.
pub const SETTINGS_HASH: &str = "quartet.dev/settings-hash";

/// On running pods: what they read from mounted objects. Its change makes their host look at those at once, and not
/// within a minute or two.
pub const MOUNTED_HASH: &str = "quartet.dev/mounted-hash";

/// Labels and annotations under these are the operator's or Kubernetes'.
pub const RESERVED: [&str; 6] = [
    "app.kubernetes.io/",
    "apps.kubernetes.io/",
    "kubernetes.io/",
    "k8s.io/",
    "quartet.dev/",
    "statefulset.kubernetes.io/",
];

/// The volume of a member, in its pod and in its claim's name.
pub const VOLUME: &str = "data";

/// Headless Service of the members.
pub fn members(resource: &str) -> String {
    format!("{resource}-members")
}

/// ConfigMap of the members' settings.
pub fn settings(resource: &str) -> String {
    format!("{resource}-settings")
}

/// Secret with the token of the members' authenticated port.
pub fn admin(resource: &str) -> String {
    format!("{resource}-admin")
}

/// Deployment of the proxies, and what belongs to them.
pub fn proxy(resource: &str) -> String {
    format!("{resource}-proxy")
}

/// Service in front of the one member that takes all writes.
pub fn writer(resource: &str) -> String {
    format!("{resource}-writer")
}

/// The proxies' page of statistics: its Service, and the Secret with its credentials.
pub fn proxy_stats(resource: &str) -> String {
    format!("{resource}-proxy-stats")
}

/// Secret with the passwords of all users, as members read them.
pub fn passwords(resource: &str) -> String {
    format!("{resource}-passwords")
}

/// Secret that is generated for a user: `_` is no character of names of objects, and `-` none of users' names.
pub fn user(resource: &str, user: &str) -> String {
    format!("{resource}-user-{}", user.replace('_', "-"))
}

/// ControllerRevision that keeps an accepted spec.
pub fn accepted(resource: &str, generation: i64) -> String {
    format!("{resource}-accepted-{generation}")
}

/// A member, and its pod.
pub fn member(resource: &str, ordinal: u16) -> String {
    format!("{resource}-{ordinal}")
}

/// The claim that a StatefulSet makes for a member.
pub fn claim(resource: &str, ordinal: u16) -> String {
    format!("{VOLUME}-{resource}-{ordinal}")
}

/// The ordinal at the end of a pod's or claim's name; None when the name is not one of `prefix`.
pub fn ordinal(prefix: &str, name: &str) -> Option<u16> {
    name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()
}

/// Host name by which members find one of them, also before it is ready.
pub fn host(resource: &str, namespace: &str, ordinal: u16) -> String {
    format!("{}.{}.{namespace}.svc", member(resource, ordinal), members(resource))
}

/// Labels on every child, pods and claims included.
pub fn labels(kind: &str, resource: &str) -> BTreeMap<String, String> {
    let mut labels = selector(kind, resource);
    labels.insert(MANAGED_BY.to_owned(), QUARTET.to_owned());
    labels
}

/// What selects the pods of one resource.
pub fn selector(kind: &str, resource: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME.to_owned(), kind.to_owned()), (INSTANCE.to_owned(), resource.to_owned())])
}

/// Labels as text, as a list is asked for by them.
pub fn query<K: Display, V: Display>(labels: impl IntoIterator<Item = (K, V)>) -> String {
    labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_makes_valid_names() {
        let longest = "a".repeat(LONGEST);
        let revision_label = format!("{longest}-{}", "f".repeat(10));
        for name in [
            members(&longest),
            settings(&longest),
            admin(&longest),
            proxy(&longest),
            writer(&longest),
            proxy_stats(&longest),
            passwords(&longest),
            accepted(&longest, 999_999),
            member(&longest, 6),
            claim(&longest, 6),
            revision_label,
        ] {
            assert!(name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn an_ordinal_is_read_back_from_a_name() {
        assert_eq!(ordinal("demo", &member("demo", 4)), Some(4));
        assert_eq!(ordinal("data-demo", &claim("demo", 0)), Some(0));
        assert_eq!(ordinal("demo", "demo-members"), None);
        assert_eq!(ordinal("demo", "demo-x-1"), None);
    }
}
