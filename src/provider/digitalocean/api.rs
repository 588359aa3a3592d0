//! DigitalOcean's HTTP API, version 2: requests, pages, limits and refusals.
//! Source: docs.digitalocean.com/reference/api.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// How many results a page has: the most that the API gives.
const PAGE: usize = 200;
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
    Delete,
}

impl Api {
    /// The API at an address such as `https://api.digitalocean.com`.
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

    /// All objects of a list, from all its pages.
    pub fn list(&self, path: &str, key: &str) -> Result<Vec<Value>, Refusal> {
        let mut all = Vec::new();
        let mark = if path.contains('?') { '&' } else { '?' };
        for page in 1.. {
            let url = format!("{path}{mark}per_page={PAGE}&page={page}");
            let mut answer = self.get(&url)?;
            let Some(Value::Array(found)) = answer.get_mut(key).map(Value::take) else {
                return Err(Refusal::Lost(format!("GET {path} answered without `{key}`")));
            };
            all.extend(found);
            if answer.pointer("/links/pages/next").and_then(Value::as_str).is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Makes something. A lost answer is not tried again: the caller looks whether it was done.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::Post, path, Some(body))
    }

    /// Puts something in the place of what is there.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::Put, path, Some(body))
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
            (Method::Post, _) => self.agent.post(&url).header(name, value).send_json(json),
            (Method::Put, _) => self.agent.put(&url).header(name, value).send_json(json),
            (Method::Delete, None) => self.agent.delete(&url).header(name, value).call(),
            (Method::Delete, Some(body)) => {
                self.agent.delete(&url).header(name, value).force_send_body().send_json(body)
            }
        };
        let verb = match method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        };
        let path = path.split('?').next().unwrap_or_default();
        let lost = |what: String| (Refusal::Lost(format!("{verb} {path}: {what}")), None);
        let mut response = sent.map_err(|error| lost(error.to_string()))?;
        let text = response.body_mut().read_to_string().map_err(|error| lost(error.to_string()))?;
        let status = response.status().as_u16();
        match status {
            204 => Ok(Value::Null),
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
}

/// What an error says: `{"id","message","request_id"}`.
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
