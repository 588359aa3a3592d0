//! JSON: the plan's published format and its schema, events a line each, releases.

use serde::Serialize;

use crate::model::{Event, Plan, Release};

/// Any value as people can read it too: indented, with a newline at the end.
pub fn pretty(value: &impl Serialize) -> String {
    // Every type of the model serialises: keys are strings and nothing in it can fail.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A plan in the format that `docs/plan-format.md` documents.
pub fn plan(plan: &Plan) -> String {
    pretty(plan)
}

/// The JSON Schema of a plan, as in `docs/plan.schema.json`.
pub fn plan_schema() -> String {
    pretty(&schemars::schema_for!(Plan))
}

/// An event on a line of its own.
pub fn event(event: &Event) -> String {
    serde_json::to_string(event).unwrap_or_default() + "\n"
}

/// Releases, in the order given.
pub fn releases(releases: &[Release]) -> String {
    pretty(&serde_json::json!({ "releases": releases }))
}

/// One release.
pub fn release(release: &Release) -> String {
    pretty(release)
}
