//! HTTP interfaces that speak JSON: requests, limits and refusals.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use crate::model::Failure;

/// How often a request is made again before its failure counts.
const TRIES: u32 = 5;
/// The longest that the API's own wish for a pause is followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(90);
const TIMEOUT: Duration = Duration::from_secs(30);

/// The API, with a token.
pub struct Api {
    agent: Agent,
    base: String,
    authorization: String,
}

/// Why a request did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The API said no; nothing was done.
    Said {
        /// The HTTP status.
        status: u16,
        /// Its sentence, with the request's id where it gave one.
        message: String,
    },
    /// There was no answer, or one that says nothing: it may have been done all the same.
    Lost(String),
}

impl Refusal {
    /// Whether the object is not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, Refusal::Said { status: 404, .. })
    }

    /// It as a failure: `what` could not be done.
    pub fn failure(&self, what: &str) -> Failure {
        let failure = Failure::new(format!("{what}: {self}"));
        match self {
            Refusal::Said { status: 401 | 403, .. } => {
                failure.hint("check the token: it must be valid, and may read and write")
            }
            Refusal::Said { status: 429, .. } => {
                failure.hint("the API's limit for this hour is used up; wait, and run it again")
            }
            Refusal::Said { .. } => {
                failure.hint("mend what it says, and run it again: it goes on from what there is")
            }
            Refusal::Lost(_) => {
                failure.hint("nothing is known about whether it was done; run it again to find out")
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Said { message, .. } => f.write_str(message),
            Refusal::Lost(what) => f.write_str(what),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Api {
    /// The API at an address such as `https://api.digitalocean.com`; a bearer token opens it.
    pub fn new(base: &str, token: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // A redirected request would carry the token elsewhere.
            .max_redirects(0)
            .user_agent(concat!("stagecraft/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
        }
    }

    /// One object.
    pub fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.call(Method::Get, path, None)
    }

    /// Makes something. A lost answer is not tried again: the caller looks whether it was done.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::Post, path, Some(body))
    }

    /// The token that a service gives for an OAuth client's secret (RFC 6749, section 4.4).
    pub fn client_token(base: &str, path: &str, secret: &str) -> Result<String, Refusal> {
        let api = Self::new(base, "");
        let lost = |why: String| Refusal::Lost(format!("POST {path}: {why}"));
        let url = format!("{}{path}", api.base);
        let mut tried = 0;
        loop {
            // The client's id is a part of its secret, so the other one is not looked at.
            let form = [("grant_type", "client_credentials"), ("client_id", "stagecraft")];
            let form = form.into_iter().chain([("client_secret", secret)]);
            let answer = match api.agent.post(&url).send_form(form) {
                Ok(response) => read("POST", path, response).map_err(|(refusal, _)| refusal),
                Err(error) => Err(lost(error.to_string())),
            };
            tried += 1;
            match answer {
                Ok(answer) => {
                    let token = answer["access_token"].as_str().map(str::to_owned);
                    return token.ok_or_else(|| lost("the answer has no token".to_owned()));
                }
                // To ask for one more costs nothing.
                Err(Refusal::Lost(_) | Refusal::Said { status: 429, .. }) if tried < TRIES => {
                    sleep(Duration::from_millis(200));
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Puts something in the place of what is there.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::Put, path, Some(body))
    }

    /// Changes a part of what is there.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::Patch, path, Some(body))
    }

    /// Takes something away; it may be gone already.
    pub fn delete(&self, path: &str, body: Option<&Value>) -> Result<(), Refusal> {
        match self.call(Method::Delete, path, body) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_absence() => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let mut pause = Duration::from_millis(100);
        let mut tried = 0;
        loop {
            let (refusal, wait) = match self.once(method, path, body) {
                Ok(answer) => return Ok(answer),
                // It was not done, whatever it was.
                Err((refusal @ Refusal::Said { status: 429, .. }, wait)) => (refusal, wait),
                Err((refusal @ Refusal::Lost(_), wait)) if method != Method::Post => {
                    (refusal, wait)
                }
                Err((refusal, _)) => return Err(refusal),
            };
            tried += 1;
            if tried >= TRIES {
                return Err(refusal);
            }
            sleep(wait.unwrap_or(pause).min(LONGEST_PAUSE));
            pause *= 2;
        }
    }

    /// One request; with a refusal comes how long the API wants to be left alone.
    fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, (Refusal, Option<Duration>)> {
        let url = format!("{}{path}", self.base);
        let nothing = Value::Null;
        let json = body.unwrap_or(&nothing);
        let (name, value) = ("authorization", self.authorization.as_str());
        let sent = match (method, body) {
            (Method::Get, _) => self.agent.get(&url).header(name, value).call(),
            (Method::Post, None | Some(Value::Null)) => {
                self.agent.post(&url).header(name, value).send_empty()
            }
            (Method::Post, _) => self.agent.post(&url).header(name, value).send_json(json),
            (Method::Put, _) => self.agent.put(&url).header(name, value).send_json(json),
            (Method::Patch, _) => self.agent.patch(&url).header(name, value).send_json(json),
            (Method::Delete, None) => self.agent.delete(&url).header(name, value).call(),
            (Method::Delete, Some(body)) => {
                self.agent.delete(&url).header(name, value).force_send_body().send_json(body)
            }
        };
        let verb = match method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        };
        match sent {
            Ok(response) => read(verb, path, response),
            Err(error) => {
                let path = path.split('?').next().unwrap_or_default();
                Err((Refusal::Lost(format!("{verb} {path}: {error}")), None))
            }
        }
    }
}

/// What an answer comes to.
fn read(
    verb: &str,
    path: &str,
    mut response: Response<ureq::Body>,
) -> Result<Value, (Refusal, Option<Duration>)> {
    let path = path.split('?').next().unwrap_or_default();
    let lost = |what: String| (Refusal::Lost(format!("{verb} {path}: {what}")), None);
    let text = response.body_mut().read_to_string().map_err(|error| lost(error.to_string()))?;
    let status = response.status().as_u16();
    match status {
        200..300 if text.trim().is_empty() => Ok(Value::Null),
        200..300 => serde_json::from_str(&text)
            .map_err(|error| lost(format!("the answer can't be read: {error}"))),
        500.. => Err((
            Refusal::Lost(format!("{verb} {path}: HTTP {status}, {}", sentence(&text))),
            pause(&response),
        )),
        _ => {
            let message = format!("{verb} {path}: HTTP {status}, {}", sentence(&text));
            Err((Refusal::Said { status, message }, pause(&response)))
        }
    }
}

/// What an error says, in its `message`; DigitalOcean adds a `request_id`.
fn sentence(text: &str) -> String {
    let said: Value = serde_json::from_str(text).unwrap_or_default();
    let message = said["message"].as_str().unwrap_or("without a reason");
    match said["request_id"].as_str() {
        Some(id) => format!("{message} (request {id})"),
        None => message.to_owned(),
    }
}

/// How long the API wants to be left alone: `retry-after` in seconds, or until `ratelimit-reset`, a time in
/// seconds since 1970.
fn pause<T>(response: &Response<T>) -> Option<Duration> {
    let number = |name: &str| -> Option<u64> {
        response.headers().get(name)?.to_str().ok()?.trim().parse().ok()
    };
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    let reset = number("ratelimit-reset").filter(|_| response.status() == 429)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Duration::from_secs(reset).saturating_sub(now))
}
