//! Whether a request comes from the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::Refusal;

/// Lets nothing through, paths that there are not included, without the token in `file`: the token and nothing else
/// but white space around it. Read for every request, so that a new one counts at once.
pub fn required<S: Clone + Send + Sync + 'static>(router: Router<S>, file: PathBuf) -> Router<S> {
    router.layer(middleware::from_fn_with_state(Arc::<Path>::from(file), authenticate))
}

async fn authenticate(
    State(file): State<Arc<Path>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    check(&file, request.headers().get(header::AUTHORIZATION)).await?;
    Ok(next.run(request).await)
}

async fn check(file: &Path, authorization: Option<&HeaderValue>) -> Result<(), Refusal> {
    let Some(given) = authorization.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) else {
        let message = "an Authorization header with a bearer token is needed";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message, false));
    };
    let token = tokio::fs::read(file).await.map_err(|error| {
        tracing::warn!(file = %file.display(), %error, "cannot read the token");
        forbidden("this member cannot read its token")
    })?;
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(forbidden("this member's token is empty"));
    }
    if bool::from(token.ct_eq(given.trim_ascii())) { Ok(()) } else { Err(forbidden("the token is wrong")) }
}

fn forbidden(why: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", why, false)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::routes;

    async fn ask(file: &Path, path: &str, authorization: Option<&str>) -> u16 {
        let router = routes::only(Router::new().route("/secret", get(|| async { "told" })));
        let mut request = Request::get(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::empty()).unwrap();
        required(router, file.to_owned()).oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn nothing_is_answered_without_the_token_of_the_moment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert_eq!(ask(&file, "/secret", Some("Bearer ")).await, 403, "there is no token");
        for token in ["one", "another\n"] {
            std::fs::write(&file, token).unwrap();
            let right = format!("Bearer {}", token.trim());
            assert_eq!(ask(&file, "/secret", Some(&right)).await, 200);
            assert_eq!(ask(&file, "/nothing", Some(&right)).await, 404);
            for path in ["/secret", "/nothing"] {
                assert_eq!(ask(&file, path, None).await, 401);
                assert_eq!(ask(&file, path, Some(token.trim())).await, 401, "not as a bearer");
                for wrong in ["Bearer ", "Bearer wrong", &right[..right.len() - 1], &format!("{right}x")] {
                    assert_eq!(ask(&file, path, Some(wrong)).await, 403, "{wrong}");
                }
            }
        }
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(ask(&file, "/secret", Some("Bearer ")).await, 403, "an empty token opens nothing");
    }
}
