//! An API server in memory, as far as the driver needs one, that can fail at any request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Map, Value, json};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The caller dies before it is sent.
    Before,
    /// It is carried out, and the caller dies before the answer.
    After,
    /// It is refused.
    Status(u16),
}

/// What somebody else does to an object.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Unless it is there.
    Makes(Value),
    Deletes,
    /// By another object of the name.
    Replaces(Value),
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: usize,
    writes: Vec<String>,
    fault: Option<(usize, Fault)>,
    /// Operations that the member carried out, in order; a repetition of the last is not counted again.
    operations: Vec<Value>,
    unrecorded: Vec<Value>,
    /// What objects must not hold: part of their JSON, and the field that is found fault with.
    impossible: Option<(String, String)>,
    /// What somebody does right before a request.
    deed: Option<(usize, String, Deed)>,
}

#[derive(Clone, Default)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
}

impl Api {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                // Another task may run between any two requests.
                tokio::task::yield_now().await;
                api.answer(request).await
            }
        });
        Client::new(service, "default")
    }

    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.stamp(&mut object);
        state.objects.insert(path.to_owned(), object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path);
    }

    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// A foreign hand's edit.
    pub(crate) fn edit(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects.get(path).cloned().unwrap();
        edit(&mut object);
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(path.to_owned(), object);
    }

    /// Somebody does this right before a request.
    pub(crate) fn meanwhile(&self, request: usize, path: &str, deed: Deed) {
        let mut state = self.state.lock().unwrap();
        state.deed = Some((state.requests + request, path.to_owned(), deed));
    }

    /// Every object that holds this is refused as invalid in that field.
    pub(crate) fn refuse(&self, part: &str, field: &str) {
        self.state.lock().unwrap().impossible = Some((part.to_owned(), field.to_owned()));
    }

    pub(crate) fn fail(&self, request: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.fault = Some((state.requests + request, fault));
    }

    /// Whether the fault that was asked for has come to pass.
    pub(crate) fn failed(&self) -> bool {
        self.state.lock().unwrap().fault.is_none()
    }

    /// Whether what somebody was to do has come to pass.
    pub(crate) fn befell(&self) -> bool {
        self.state.lock().unwrap().deed.is_none()
    }

    pub(crate) fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }

    pub(crate) fn operations(&self) -> Vec<Value> {
        self.state.lock().unwrap().operations.clone()
    }

    pub(crate) fn unrecorded(&self) -> Vec<Value> {
        self.state.lock().unwrap().unrecorded.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let kind = head.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let number = state.requests;
        if let Some((_, at, deed)) = state.deed.take_if(|(at, ..)| *at == number) {
            state.befall(at, deed);
        }
        let fault = state.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Before) => return Err(std::io::Error::other("died before the request")),
            Some(Fault::Status(code)) => return Ok(respond(code, &status(code, "injected"))),
            Some(Fault::After) | None => {}
        }
        let (code, answer) =
            state.handle(&head.method, head.uri.path(), head.uri.query(), kind.as_deref(), &body);
        if fault == Some(Fault::After) {
            return Err(std::io::Error::other("died before the answer"));
        }
        Ok(respond(code, &answer))
    }
}

impl State {
    fn befall(&mut self, path: String, deed: Deed) {
        let mut object = match deed {
            Deed::Makes(_) if self.objects.contains_key(&path) => return,
            Deed::Makes(object) | Deed::Replaces(object) => object,
            Deed::Deletes => return drop(self.objects.remove(&path)),
        };
        self.stamp(&mut object);
        self.objects.insert(path, object);
    }

    fn handle(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        kind: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let dry_run = query.is_some_and(|query| query.contains("dryRun=All"));
        let refused = self.impossible.clone().filter(|(part, _)| {
            *method != Method::GET && !path.ends_with("/status") && body.to_string().contains(part)
        });
        if let Some((_, field)) = refused {
            return (422, invalid(&field));
        }
        if dry_run {
            return (200, body.clone());
        }
        if *method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        let collection = path.rsplit('/').nth(1).is_some_and(|above| {
            path.contains(&format!("namespaces/{above}/")) && {
                path.split("/namespaces/").nth(1).is_some_and(|rest| rest.split('/').count() == 2)
            }
        });
        match (method.as_str(), collection) {
            ("GET", true) => (200, self.list(path, query.unwrap_or_default())),
            ("GET", false) => {
                self.objects.get(path).map_or_else(|| missing(path), |object| (200, object.clone()))
            }
            ("POST", true) => self.create(path, body),
            ("POST", false) => self.resize(path, body),
            ("PATCH", _) if path.ends_with("/status") => {
                self.merge_status(path.trim_end_matches("/status"), body)
            }
            ("PATCH", _) if kind == Some("application/apply-patch+yaml") => self.apply(path, body),
            ("PATCH", _) if kind == Some("application/merge-patch+json") => self.merge(path, body),
            ("DELETE", _) => self.delete(path, body),
            other => panic!("not simulated: {other:?} {path} {kind:?}"),
        }
    }

    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        let version = self.version;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.entry("namespace").or_insert(json!("default"));
        metadata.entry("uid").or_insert(json!(format!("uid-{version}")));
        metadata.entry("generation").or_insert(json!(1));
        metadata.insert("resourceVersion".into(), json!(version.to_string()));
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let selector =
            query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
        let selector = selector.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let matches = |object: &Value| {
            selector.split(',').filter(|pair| !pair.is_empty()).all(|pair| {
                let (key, value) = pair.split_once('=').unwrap();
                object["metadata"]["labels"][key] == value
            })
        };
        let prefix = format!("{path}/");
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(|(at, object)| at.starts_with(&prefix) && matches(object))
            .map(|(_, object)| object.clone())
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn create(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let at = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&at) {
            return (409, status(409, "exists"));
        }
        let mut object = body.clone();
        self.stamp(&mut object);
        self.objects.insert(at, object.clone());
        (201, object)
    }

    fn apply(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let uid = body["metadata"].get("uid");
        let Some(live) = self.objects.get(path) else {
            if uid.is_some() {
                return (409, status(409, "uid mismatch"));
            }
            let mut object = body.clone();
            self.stamp(&mut object);
            self.objects.insert(path.to_owned(), object.clone());
            return (201, object);
        };
        let live = live.clone();
        self.merge_into(path, &live, body)
    }

    fn merge(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(live) = self.objects.get(path).cloned() else { return missing(path) };
        let version = body["metadata"].get("resourceVersion");
        if version.is_some_and(|version| *version != live["metadata"]["resourceVersion"]) {
            return (409, status(409, "modified"));
        }
        self.merge_into(path, &live, body)
    }

    /// A patch with another UID than the live object's changes what never changes, which is no conflict.
    fn merge_into(&mut self, path: &str, live: &Value, body: &Value) -> (u16, Value) {
        if body["metadata"].get("uid").is_some_and(|uid| *uid != live["metadata"]["uid"]) {
            return (422, invalid("metadata.uid"));
        }
        let mut object = live.clone();
        merge(&mut object, body);
        if object != *live {
            self.stamp(&mut object);
            self.objects.insert(path.to_owned(), object.clone());
        }
        (200, object)
    }

    fn merge_status(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(live) = self.objects.get(path) else { return missing(path) };
        if body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"] {
            return (409, status(409, "modified"));
        }
        let mut object = live.clone();
        let status = object.as_object_mut().unwrap().entry("status").or_insert(json!({}));
        merge(status, &body["status"]);
        self.stamp(&mut object);
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
    }

    fn delete(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(live) = self.objects.get(path) else { return missing(path) };
        for precondition in ["uid", "resourceVersion"] {
            if body["preconditions"][precondition] != live["metadata"][precondition] {
                return (409, status(409, "precondition"));
            }
        }
        self.objects.remove(path);
        (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
    }

    /// The member: it takes any command, and the test looks whether its operation had been recorded.
    fn resize(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let resource = path.trim_start_matches("/member");
        let recorded = self.objects.get(resource).map(|object| object["status"]["operation"].clone());
        if recorded.as_ref().map(|operation| &operation["id"]) != Some(&body["id"]) {
            self.unrecorded.push(body.clone());
            return (409, status(409, "stale operation"));
        }
        if self.operations.last() != Some(body) {
            self.operations.push(body.clone());
        }
        let mut member = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "member"},
            "data": {"size": body["size"].to_string()}});
        self.stamp(&mut member);
        self.objects.insert("/api/v1/namespaces/default/configmaps/member".into(), member);
        (200, json!({}))
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn missing(path: &str) -> (u16, Value) {
    (404, status(404, path))
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": "Injected", "message": message})
}

fn invalid(field: &str) -> Value {
    let mut answer = status(422, &format!("the object is invalid: {field}: not possible"));
    answer["details"] =
        json!({"causes": [{"reason": "FieldValueInvalid", "message": "not possible", "field": field}]});
    answer
}

fn respond(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
