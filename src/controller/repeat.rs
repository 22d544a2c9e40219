//! Which answers of the API server are followed by the same request once more.

use http::{Request, Response, StatusCode};
use kube::client::{Body, retry::RetryPolicy};
use tower::BoxError;
use tower::retry::Policy;

/// The end of the address of an eviction.
const EVICTION: &str = "/eviction";

/// Repeats what the API server had no room for. Not an eviction: there the same answer comes from a disruption budget,
/// which may stand for hours.
#[derive(Clone)]
pub(crate) struct Repeat(RetryPolicy);

impl Repeat {
    pub(crate) const fn new(policy: RetryPolicy) -> Self {
        Self(policy)
    }
}

impl<T> Policy<Request<Body>, Response<T>, BoxError> for Repeat {
    type Future = <RetryPolicy as Policy<Request<Body>, Response<T>, BoxError>>::Future;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<T>, BoxError>,
    ) -> Option<Self::Future> {
        let is_refused = result.as_ref().is_ok_and(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
        if is_refused && request.uri().path().ends_with(EVICTION) {
            return None;
        }
        self.0.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<_, Response<T>, _>::clone_request(&mut self.0, request)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(path: &str, code: u16, is_repeated: bool) {
        let delay = Duration::from_millis(1);
        let mut policy = Repeat::new(RetryPolicy::new(delay, delay, 1, true).unwrap());
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        let mut answer = Ok(Response::builder().status(code).body(()).unwrap());
        assert_eq!(policy.retry(&mut request, &mut answer).is_some(), is_repeated, "{path} {code}");
    }

    #[tokio::test]
    async fn the_no_of_a_disruption_budget_is_an_answer() {
        check("/api/v1/namespaces/a/pods/b/eviction?", 429, false);
        check("/api/v1/namespaces/a/pods/b/eviction?", 503, true);
        check("/api/v1/namespaces/a/pods/eviction/status", 429, true);
        check("/api/v1/namespaces/a/pods/b", 404, false);
    }
}
