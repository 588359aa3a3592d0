//! Waiting for the cloud: actions, what is busy, and what takes a while to be there or gone.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::http::Refusal;
use super::DigitalOcean;

/// How long the cloud may take for one thing.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long what used something may take to leave it.
const LEAVING: Duration = Duration::from_secs(300);

impl DigitalOcean {
    /// Makes a request again for as long as something else is being done to what it is about.
    pub(super) fn patiently(
        &self,
        request: impl Fn() -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let busy = |message: &str| {
            message.contains("pending event") || message.contains("processes previous actions")
        };
        let began = Instant::now();
        let mut pace = Pace::default();
        loop {
            match request() {
                Err(Refusal::Said { message, .. })
                    if busy(&message) && began.elapsed() < PATIENCE =>
                {
                    pace.wait();
                }
                result => return result,
            }
        }
    }

    /// Starts an action and waits for its end.
    pub(super) fn action(&self, path: &str, body: &Value) -> Result<(), Refusal> {
        let kind = body["type"].as_str().unwrap_or_default();
        let begun = self.patiently(|| self.api.post(path, body))?;
        let id = begun["action"]["id"].to_string();
        self.until(&format!("`{kind}` to end"), || {
            let it = self.api.get(&format!("{path}/{id}"))?;
            match it["action"]["status"].as_str() {
                Some("completed") => Ok(true),
                Some("errored") => {
                    let message = format!("`{kind}` failed at DigitalOcean (action {id})");
                    Err(Refusal::Said { status: 422, message })
                }
                _ => Ok(false),
            }
        })
    }

    /// Waits until something is not there any more.
    pub(super) fn is_gone(&self, what: &str, path: &str) -> Result<(), Refusal> {
        self.until(what, || match self.api.get(path) {
            Ok(_) => Ok(false),
            Err(refusal) if refusal.is_absence() => Ok(true),
            Err(refusal) => Err(refusal),
        })
    }

    /// Takes something away. What used it may take a moment to leave; until then the API answers with
    /// one of the statuses in `used`.
    pub(super) fn leaves(&self, path: &str, used: &[u16]) -> Result<(), Refusal> {
        let began = Instant::now();
        let mut pace = Pace::default();
        loop {
            match self.api.delete(path, None) {
                Err(Refusal::Said { status, .. })
                    if used.contains(&status) && began.elapsed() < LEAVING => {}
                result => return result,
            }
            pace.wait();
        }
    }

    /// Asks again and again whether something is so, until it is.
    pub(super) fn until(
        &self,
        what: &str,
        is_so: impl Fn() -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let began = Instant::now();
        let mut pace = Pace::default();
        while !is_so()? {
            if began.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Refusal::Lost(format!("waited {seconds} s for {what}")));
            }
            pace.wait();
        }
        Ok(())
    }
}

/// Pauses between questions: short ones at first, longer ones later.
pub struct Pace(Duration);

impl Default for Pace {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl Pace {
    pub fn wait(&mut self) {
        sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }
}
