//! The chart: what it installs with each toggle, and that the operator's rights are those that its code needs.

use std::collections::{BTreeMap, BTreeSet};

use crate::helm::{Chart, chart, documents, helm, render, try_render};
use clap::CommandFactory;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, PodSpec},
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use quartet_operator::{args::Arguments, plan::ObjectKind};
use serde_json::{Value, json};

fn rules(chart: &Chart, kind: &str, name: &str) -> Vec<PolicyRule> {
    let object = chart.named(kind, name).unwrap_or_else(|| panic!("no {kind} {name}")).clone();
    match kind {
        "Role" => serde_json::from_value::<Role>(object).unwrap().rules.unwrap_or_default(),
        _ => serde_json::from_value::<ClusterRole>(object).unwrap().rules.unwrap_or_default(),
    }
}

fn grants(rules: &[PolicyRule], group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: &[String], item: &str| list.iter().any(|entry| entry == item);
    rules.iter().any(|rule| {
        has(rule.api_groups.as_deref().unwrap_or_default(), group)
            && has(rule.resources.as_deref().unwrap_or_default(), resource)
            && has(&rule.verbs, verb)
    })
}

fn pod(chart: &Chart) -> PodSpec {
    let deployment: Deployment = chart.only("Deployment");
    deployment.spec.unwrap().template.spec.unwrap()
}

fn operator(chart: &Chart) -> Container {
    match pod(chart).containers.as_slice() {
        [one] => one.clone(),
        many => panic!("{} containers", many.len()),
    }
}

fn env(container: &Container, name: &str) -> Option<String> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.clone()
}

#[test]
fn lint_finds_nothing_even_when_strict() {
    let chart = chart();
    helm(&["lint", "--strict", chart.to_str().unwrap()]).unwrap_or_else(|complaint| panic!("{complaint}"));
}

#[test]
fn crds_are_those_of_the_crds_folder_and_are_kept() {
    let folder = chart().join("../../crds");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            for plain in documents(&std::fs::read_to_string(&path).unwrap()) {
                let name = plain["metadata"]["name"].as_str().unwrap().to_owned();
                let rendered = render(&[]);
                let templated = rendered.named("CustomResourceDefinition", &name);
                let templated = templated.unwrap_or_else(|| panic!("{name} is not in the chart"));
                // Without the values: a difference would fill the screen.
                assert!(templated["spec"] == plain["spec"], "{name} in the chart differs from crds/");
                assert_eq!(templated["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
                names.insert(name);
            }
        }
    }
    for kind in ["syncclusters.quartet.dev", "galeraclusters.quartet.dev"] {
        assert!(names.contains(kind), "crds/ holds only {names:?}");
    }
    assert_eq!(render(&[]).of_kind("CustomResourceDefinition").len(), names.len());
}

#[test]
fn crds_can_be_left_out_or_given_up_with_the_release() {
    assert!(render(&["crds.enabled=false"]).of_kind("CustomResourceDefinition").is_empty());
    let given_up = render(&["crds.keep=false"]);
    let crds = given_up.of_kind("CustomResourceDefinition");
    assert!(!crds.is_empty());
    assert!(crds.iter().all(|crd| crd["metadata"]["annotations"].is_null()));
}

#[test]
fn no_rule_has_a_wildcard() {
    for set in [vec![], vec![r#"watchNamespace="apps""#]] {
        let chart = render(&set);
        let roles = chart.of_kind("Role").into_iter().chain(chart.of_kind("ClusterRole"));
        for role in roles {
            assert!(!role["rules"].to_string().contains('*'), "{}", role["metadata"]["name"]);
        }
    }
}

/// What the code calls, by (group, resource), in a namespace that it watches.
fn needed() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut needed = BTreeMap::new();
    let mut add = |group: &str, resource: &str, verbs: &[&str]| {
        let verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        needed.insert((group.to_owned(), resource.to_owned()), verbs);
    };
    for kind in ObjectKind::ALL {
        let (group, resource) = kind.resource();
        add(
            group,
            resource,
            match kind {
                // Made by the StatefulSet's controller.
                ObjectKind::Pod | ObjectKind::PersistentVolumeClaim => {
                    &["get", "list", "watch", "patch", "delete"]
                }
                // The API server lets nobody change them.
                ObjectKind::ControllerRevision => &["get", "list", "watch", "create", "delete"],
                _ => &["get", "list", "watch", "create", "patch", "delete"],
            },
        );
    }
    for kind in ["syncclusters", "galeraclusters"] {
        add("quartet.dev", kind, &["get", "list", "watch"]);
        add("quartet.dev", &format!("{kind}/status"), &["patch"]);
        // For owner references that block the deletion of their owner.
        add("quartet.dev", &format!("{kind}/finalizers"), &["update"]);
    }
    add("events.k8s.io", "events", &["create"]);
    needed
}

fn granted(rules: &[PolicyRule]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut granted: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                granted
                    .entry((group.clone(), resource.clone()))
                    .or_default()
                    .extend(rule.verbs.iter().cloned());
            }
        }
    }
    granted
}

#[test]
fn the_operators_rights_are_what_its_code_does_and_no_more() {
    let mut needed = needed();
    assert_eq!(granted(&rules(&render(&[r#"watchNamespace="apps""#]), "Role", "quartet-operator")), needed);
    let classes = ("storage.k8s.io".to_owned(), "storageclasses".to_owned());
    needed.insert(classes, BTreeSet::from(["list".to_owned()]));
    assert_eq!(granted(&rules(&render(&[]), "ClusterRole", "quartet-operator")), needed);
}

#[test]
fn one_namespace_shrinks_the_rights_to_a_role_in_it() {
    let chart = render(&[r#"watchNamespace="apps""#]);
    let everywhere = rules(&chart, "ClusterRole", "quartet-operator");
    assert!(!grants(&everywhere, "", "secrets", "get"));
    assert!(grants(&everywhere, "storage.k8s.io", "storageclasses", "list"));
    assert!(grants(&rules(&chart, "Role", "quartet-operator"), "", "secrets", "get"));
    assert_eq!(chart.named("Role", "quartet-operator").unwrap()["metadata"]["namespace"], "apps");
    let binding = chart.named("RoleBinding", "quartet-operator").unwrap();
    assert_eq!(binding["metadata"]["namespace"], "apps");
    assert_eq!(binding["subjects"][0]["namespace"], "quartet-system");
    assert_eq!(env(&operator(&chart), "QUARTET_NAMESPACE").as_deref(), Some("apps"));
}

#[test]
fn the_lease_is_the_operators_own_and_in_its_namespace() {
    let chart = render(&[]);
    let leader = chart.named("Role", "quartet-operator-leader").unwrap();
    assert_eq!(leader["metadata"]["namespace"], "quartet-system");
    let rules = rules(&chart, "Role", "quartet-operator-leader");
    for rule in rules.iter().filter(|rule| rule.verbs.iter().any(|verb| verb != "create")) {
        assert_eq!(rule.resource_names.as_deref(), Some(&["quartet-operator".to_owned()][..]));
    }
}

#[test]
fn the_pod_meets_the_restricted_standard() {
    let (pod, operator) = (pod(&render(&[])), operator(&render(&[])));
    let of_pod = pod.security_context.unwrap();
    assert_eq!((of_pod.run_as_non_root, of_pod.run_as_user), (Some(true), Some(65532)));
    assert_eq!(of_pod.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let own = operator.security_context.unwrap();
    assert_eq!(own.allow_privilege_escalation, Some(false));
    assert_eq!(own.read_only_root_filesystem, Some(true));
    assert_eq!(own.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
}

#[test]
fn two_replicas_prefer_two_hosts_and_one_outlives_a_drain() {
    let chart = render(&[]);
    assert_eq!(chart.only::<Deployment>("Deployment").spec.unwrap().replicas, Some(2));
    let affinity = pod(&chart).affinity.unwrap().pod_anti_affinity.unwrap();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.unwrap();
    assert_eq!(preferred[0].pod_affinity_term.topology_key, "kubernetes.io/hostname");
    assert_eq!(chart.of_kind("PodDisruptionBudget")[0]["spec"]["minAvailable"], 1);
    assert!(render(&["replicas=1"]).of_kind("PodDisruptionBudget").is_empty());
    assert!(render(&["podDisruptionBudget.enabled=false"]).of_kind("PodDisruptionBudget").is_empty());
}

#[test]
fn images_come_from_the_values_and_their_tags_from_the_chart() {
    let plain = operator(&render(&[]));
    assert_eq!(plain.image.as_deref(), Some("quartet-operator:0.1.0"));
    assert_eq!(env(&plain, "QUARTET_NODE_IMAGE").as_deref(), Some("quartet-node:0.1.0"));
    assert_eq!(env(&plain, "QUARTET_MARIADB_IMAGE").as_deref(), Some("quartet-mariadb:0.1.0"));
    assert_eq!(env(&plain, "QUARTET_HAPROXY_IMAGE").as_deref(), Some("quartet-haproxy:0.1.0"));
    let given = render(&[
        r#"image={"operator": {"repository": "mirror.example/o", "tag": "1"},
            "node": {"repository": "mirror.example/n", "tag": "2"},
            "mariadb": {"repository": "mirror.example/m", "tag": "3"},
            "haproxy": {"repository": "mirror.example/h", "tag": "4"}, "pullPolicy": "Never"}"#,
        r#"imagePullSecrets=[{"name": "mirror"}]"#,
    ]);
    let container = operator(&given);
    assert_eq!(container.image.as_deref(), Some("mirror.example/o:1"));
    assert_eq!(container.image_pull_policy.as_deref(), Some("Never"));
    assert_eq!(env(&container, "QUARTET_NODE_IMAGE").as_deref(), Some("mirror.example/n:2"));
    assert_eq!(env(&container, "QUARTET_MARIADB_IMAGE").as_deref(), Some("mirror.example/m:3"));
    assert_eq!(env(&container, "QUARTET_HAPROXY_IMAGE").as_deref(), Some("mirror.example/h:4"));
    assert_eq!(env(&container, "QUARTET_IMAGE_PULL_POLICY").as_deref(), Some("Never"));
    assert_eq!(pod(&given).image_pull_secrets.unwrap()[0].name, "mirror");
}

#[test]
fn what_is_optional_comes_and_goes_with_its_value() {
    assert!(render(&[]).of_kind("ServiceMonitor").is_empty());
    assert_eq!(render(&["metrics.serviceMonitor.enabled=true"]).of_kind("ServiceMonitor").len(), 1);
    let absent = [
        ("Service", "metrics.service.enabled=false"),
        ("NetworkPolicy", "networkPolicy.enabled=false"),
        ("ClusterRole", "rbac.create=false"),
        ("RoleBinding", "rbac.create=false"),
    ];
    for (kind, set) in absent {
        assert!(!render(&[]).of_kind(kind).is_empty(), "{kind}");
        assert!(render(&[set]).of_kind(kind).is_empty(), "{kind} with {set}");
    }
    let given = render(&[r#"serviceAccount={"create": false, "name": "mine"}"#]);
    assert!(given.of_kind("ServiceAccount").is_empty());
    assert_eq!(pod(&given).service_account_name.as_deref(), Some("mine"));
}

#[test]
fn every_variable_of_the_container_is_an_option_of_the_operator() {
    let arguments = Arguments::command();
    let options = arguments.find_subcommand("run").unwrap().get_arguments().chain(arguments.get_arguments());
    let known: BTreeSet<_> = options.filter_map(|option| option.get_env()?.to_str()).collect();
    let container = operator(&render(&["concurrency=3", r#"log={"level": "debug", "format": "text"}"#]));
    for variable in container.env.iter().flatten() {
        assert!(known.contains(variable.name.as_str()), "{}", variable.name);
    }
    assert_eq!(env(&container, "QUARTET_CONCURRENCY").as_deref(), Some("3"));
    assert_eq!(env(&container, "QUARTET_LOG").as_deref(), Some("debug"));
    assert_eq!(env(&container, "QUARTET_LOG_FORMAT").as_deref(), Some("text"));
    assert_eq!(container.args, Some(vec!["run".to_owned()]));
}

#[test]
fn scheduling_values_reach_the_pod() {
    let pod = pod(&render(&[
        r#"nodeSelector={"disk": "fast"}"#,
        r#"tolerations=[{"operator": "Exists"}]"#,
        r#"affinity={"nodeAffinity": {}}"#,
        r#"priorityClassName="system-cluster-critical""#,
    ]));
    let affinity = pod.affinity.unwrap();
    assert!(affinity.node_affinity.is_some() && affinity.pod_anti_affinity.is_none());
    assert_eq!(pod.node_selector.unwrap()["disk"], "fast");
    assert_eq!(pod.tolerations.unwrap().len(), 1);
    assert_eq!(pod.priority_class_name.as_deref(), Some("system-cluster-critical"));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for set in [
        "bogus=1",
        "crds.kept=true",
        "replicas=0",
        r#"image.pullPolicy="Sometimes""#,
        r#"watchNamespace="Not A Namespace""#,
        r#"log.format="xml""#,
        "networkPolicy.apiServer.to=[]",
        r#"serviceAccount={"create": false}"#,
        r#"metrics={"service": {"enabled": false}, "serviceMonitor": {"enabled": true}}"#,
    ] {
        assert!(try_render(&[set]).is_err(), "{set}");
    }
}

#[test]
fn every_value_is_in_the_schema() {
    let read = |file: &str| std::fs::read_to_string(chart().join(file)).unwrap();
    let values: Value = documents(&read("values.yaml")).remove(0);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    compare("", &values, &schema);
}

/// Where the schema closes an object, its keys are those of values.yaml (but for helm's own `global`).
fn compare(path: &str, values: &Value, schema: &Value) {
    if schema["additionalProperties"] != json!(false) || !values.is_object() {
        return;
    }
    let keys = |of: &Value| -> BTreeSet<String> { of.as_object().unwrap().keys().cloned().collect() };
    let mut known = keys(&schema["properties"]);
    known.remove("global");
    assert_eq!(keys(values), known, "in {path:?}");
    for key in known {
        compare(&format!("{path}.{key}"), &values[&key], &schema["properties"][&key]);
    }
}
