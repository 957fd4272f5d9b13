//! What is refused alike at every port.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;

use crate::{Refusal, body};

/// Other paths, other methods and larger bodies are refused in the form of all refusals. Layers that shall see those
/// too come after it.
pub fn only<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(body::BYTES_MAX))
}

async fn no_such_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", false)
}

async fn no_such_method() -> Refusal {
    let message = "the path does not take this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, false)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: &str, path: &str, body: String) -> (u16, String) {
        let echo = |body: body::Body| async { body::received(body) };
        let router = only(Router::new().route("/echo", post(echo)));
        let request = Request::builder().method(method).uri(path).body(axum::body::Body::from(body)).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_no_route_and_what_is_too_large_is_refused_in_the_form_of_all_refusals() {
        let full = "x".repeat(body::BYTES_MAX);
        assert_eq!(ask("POST", "/echo", full.clone()).await, (200, full.clone()));
        for (method, path, body, status, code) in [
            ("POST", "/echo", full + "x", 413, "too_large"),
            ("GET", "/echo", String::new(), 405, "method_not_allowed"),
            ("GET", "/", String::new(), 404, "not_found"),
        ] {
            let (got, answer) = ask(method, path, body).await;
            assert_eq!(got, status, "{method} {path}: {answer}");
            assert!(answer.contains(&format!(r#"{{"error":{{"code":"{code}""#)), "{answer}");
        }
    }
}
