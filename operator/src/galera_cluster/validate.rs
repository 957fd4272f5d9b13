//! Makes a spec into one that can be built from without failing, or says what is wrong with it.
//!
//! What the schema already refuses is not repeated; here is what it cannot know: other objects, and grammar.

use quartet_client::galera::Position;
use quartet_crds::{
    conditions::Reason,
    galera_cluster::{GaleraCluster, GaleraClusterSpec},
};

use super::{LABEL, Seen};
use crate::{
    children::{Parent, secrets},
    names,
    plan::ObjectKind,
    reconcile::{Fault, Given},
    spec::faults::{self, fault},
};

/// Keys of the Secret with the credentials of the proxies' statistics.
pub const USERNAME: &str = "username";
pub const PASSWORD: &str = "password";

/// A spec that has passed every check, with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    pub parent: Parent,
    pub replicas: u16,
    pub proxies: u16,
    pub mariadb_image: String,
    pub haproxy_image: String,
    pub node_image: String,
    pub pull_policy: String,
    /// A human's word: begin from this member at this position.
    pub order: Option<(u16, Position)>,
    pub spec: GaleraClusterSpec,
}

pub fn validate(obj: &GaleraCluster, seen: &Seen, given: &Given) -> Result<Valid, Vec<Fault>> {
    let spec = &obj.spec;
    let mut all = Vec::new();
    all.extend(faults::of_name(obj.metadata.name.as_deref().unwrap_or_default()));
    all.extend(faults::of_storage(&spec.storage, spec.replicas, &seen.members));
    all.extend(faults::of_resources("spec.resources", &spec.resources));
    all.extend(faults::of_resources("spec.proxy.resources", &spec.proxy.resources));
    all.extend(faults::of_image("spec.image", spec.image.as_deref()));
    all.extend(faults::of_image("spec.proxy.image", spec.proxy.image.as_deref()));
    all.extend(faults::of_pods(&spec.common));
    all.extend(secret_faults(spec, seen));
    let Some(valid) = restore(obj, given) else {
        let allowed = "replicas must be 1, 3, 5 or 7, proxy.replicas between 1 and 8, and version \"10.11\"";
        all.push(fault("spec", Reason::SpecInvalid, allowed));
        return Err(all);
    };
    if let Some(from) = spec.recovery.bootstrap_from.as_ref().filter(|_| valid.order.is_none()) {
        let message =
            format!("\"{}\" is no member of this cluster, such as {}-0", from.member, valid.parent.name);
        all.push(fault("spec.recovery.bootstrapFrom.member", Reason::SpecInvalid, message));
    }
    if all.is_empty() { Ok(valid) } else { Err(all) }
}

/// Of a spec that was accepted before: what it refers to may have gone since, and its members live on.
pub fn restore(obj: &GaleraCluster, given: &Given) -> Option<Valid> {
    let (spec, settings) = (&obj.spec, &given.settings);
    let replicas = faults::odd(spec.replicas)?;
    let proxies = u16::try_from(spec.proxy.replicas).ok().filter(|proxies| (1..=8).contains(proxies))?;
    (spec.version == "10.11").then(|| Valid {
        parent: Parent::of(obj, LABEL),
        replicas,
        proxies,
        mariadb_image: spec.image.clone().unwrap_or_else(|| settings.mariadb_image.clone()),
        haproxy_image: spec.proxy.image.clone().unwrap_or_else(|| settings.haproxy_image.clone()),
        node_image: settings.node_image.clone(),
        pull_policy: settings.pull_policy(spec.common.image_pull_policy),
        order: order(obj),
        spec: spec.clone(),
    })
}

fn order(obj: &GaleraCluster) -> Option<(u16, Position)> {
    let from = obj.spec.recovery.bootstrap_from.as_ref()?;
    let ordinal = names::ordinal(obj.metadata.name.as_deref()?, &from.member)?;
    Some((ordinal, from.position.parse().ok()?))
}

/// What a Secret lacks that the spec names; empty values count as lacking.
fn secret_faults(spec: &GaleraClusterSpec, seen: &Seen) -> Vec<Fault> {
    let mut wanted = Vec::new();
    for (index, user) in spec.users.iter().enumerate() {
        if let Some(password) = &user.password_secret_ref {
            wanted.push((
                format!("spec.users[{index}].passwordSecretRef"),
                &password.name,
                password.key.as_str(),
            ));
        }
    }
    if let Some(stats) = &spec.proxy.stats.credentials_secret_ref {
        for key in [USERNAME, PASSWORD] {
            wanted.push(("spec.proxy.stats.credentialsSecretRef".to_owned(), &stats.name, key));
        }
    }
    let lacking = |(field, name, key): (String, &String, &str)| {
        let message = match seen.named.get(name) {
            None => format!("there is no Secret \"{name}\" in this namespace"),
            Some(secret) if secrets::value(secret, key).is_none() => {
                format!("Secret \"{name}\" has no value under the key \"{key}\"")
            }
            Some(_) => return None,
        };
        Some(fault(field, Reason::SecretNotFound, message))
    };
    let mut faults: Vec<Fault> = wanted.into_iter().filter_map(lacking).collect();
    faults.dedup();
    faults
}

/// Which field of the spec a field of a child is made of.
pub fn field(child: ObjectKind, path: &str) -> String {
    match child {
        ObjectKind::Deployment if path.starts_with("spec.template.spec.containers[0].image") => {
            "spec.proxy.image".to_owned()
        }
        ObjectKind::Deployment if path.starts_with("spec.template.spec.containers[0].resources") => {
            "spec.proxy.resources".to_owned()
        }
        _ => faults::origin(child, path),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use quartet_crds::galera_cluster::{BootstrapFrom, SecretKeyRef, SecretRef};

    use super::*;
    use crate::galera_cluster::fixture::{Cluster, cluster};

    /// Field and reason of every fault.
    fn faults(cluster: &Cluster) -> Vec<(String, &'static str)> {
        let faults = validate(&cluster.resource, &cluster.seen(), &cluster.given()).err().unwrap_or_default();
        faults.into_iter().map(|fault| (fault.field, fault.reason)).collect()
    }

    fn with(change: impl FnOnce(&mut GaleraClusterSpec)) -> Vec<(String, &'static str)> {
        faults(&cluster().with_spec(change))
    }

    fn secret(keys: &[&str]) -> Secret {
        let data = keys.iter().map(|key| ((*key).to_owned(), secrets::text("value")));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(with(|_| {}), []);
    }

    #[test]
    fn a_secret_that_is_not_there_or_lacks_a_key_is_named() {
        let mut cluster = cluster().with_spec(|spec| {
            let named = SecretKeyRef { name: "app".into(), key: "word".into() };
            spec.users[0].password_secret_ref = Some(named);
            spec.proxy.stats.credentials_secret_ref = Some(SecretRef { name: "stats".into() });
        });
        let user = ("spec.users[0].passwordSecretRef".to_owned(), "SecretNotFound");
        let stats = ("spec.proxy.stats.credentialsSecretRef".to_owned(), "SecretNotFound");
        assert_eq!(faults(&cluster), [user.clone(), stats.clone()]);
        cluster.own.named.insert("app".into(), secret(&["password"]));
        cluster.own.named.insert("stats".into(), secret(&["username"]));
        assert_eq!(faults(&cluster), [user, stats]);
        cluster.own.named.insert("app".into(), secret(&["word"]));
        cluster.own.named.insert("stats".into(), secret(&["username", "password"]));
        assert_eq!(faults(&cluster), []);
    }

    #[test]
    fn a_human_names_a_member_of_this_cluster() {
        let from = |member: &str| {
            let position = "6b1d3e2a-7c55-11f0-8de9-0242ac120002:7".to_owned();
            let from = BootstrapFrom { member: member.to_owned(), position };
            with(|spec| spec.recovery.bootstrap_from = Some(from))
        };
        assert_eq!(from("shop-2"), []);
        let wrong = [("spec.recovery.bootstrapFrom.member".to_owned(), "SpecInvalid")];
        assert_eq!(from("demo-2"), wrong);
    }

    #[test]
    fn both_images_must_be_references() {
        let wrong = with(|spec| {
            spec.image = Some("a b".into());
            spec.proxy.image = Some("a b".into());
        });
        let fields: Vec<&str> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["spec.image", "spec.proxy.image"]);
    }

    #[test]
    fn a_refusal_of_a_child_names_the_field_that_it_is_made_of() {
        let proxy = field(ObjectKind::Deployment, "spec.template.spec.containers[0].image");
        assert_eq!(proxy, "spec.proxy.image");
        let member = field(ObjectKind::StatefulSet, "spec.template.spec.containers[0].resources.limits");
        assert_eq!(member, "spec.resources.limits");
        assert_eq!(field(ObjectKind::PersistentVolumeClaim, "spec.resources"), "spec.storage.size");
    }
}
