//! Live reads. Watches trigger, but only what is read here decides.

use std::fmt::Debug;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{
    Api, Resource,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;

use super::{Context, request, request_optional};
use crate::{failure::Failure, plan::ObjectKind};

/// More children of one resource than this are a fault of somebody's.
const LIST_LIMIT: u32 = 500;

pub async fn get<K>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    request_optional(format!("get {} {name}", K::kind(&())), api.get(name)).await
}

pub async fn list_global<K>(ctx: &Context) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::all(ctx.client.clone());
    let params = ListParams::default().limit(LIST_LIMIT);
    Ok(request(format!("list {}", K::kind(&())), api.list(&params)).await?.items)
}

pub async fn list<K>(ctx: &Context, namespace: &str, labels: &str) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    let params = ListParams::default().labels(labels).limit(LIST_LIMIT);
    Ok(request(format!("list {} {labels}", K::kind(&())), api.list(&params)).await?.items)
}

/// The object as the API server has it, no field lost.
pub async fn raw(
    ctx: &Context,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>, Failure> {
    let api = Api::<DynamicObject>::namespaced_with(ctx.client.clone(), namespace, resource);
    request_optional(format!("get {} {name}", resource.kind), api.get(name)).await
}

pub fn api_resource(kind: ObjectKind) -> ApiResource {
    let (group, plural) = kind.resource();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind.as_str()), plural)
}
