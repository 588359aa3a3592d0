//! What a cloud has, as a table.

use super::style::Paint;
use super::table::Table;
use super::text::line;
use crate::model::{Address, InfraState};

/// What is said when something was taken over.
pub fn imported(address: &Address) -> String {
    format!(
        "{} is taken over; `stagecraft infra up --dry-run` says what of it differs.\n",
        line(&address.to_string())
    )
}

/// The objects, each with what the cloud has given it.
pub fn table(state: &InfraState, paint: Paint) -> String {
    if state.objects.is_empty() {
        return "The cloud has nothing of this environment.\n".to_owned();
    }
    let mut table = Table::new(["address", "name", "id", "public", "private"]);
    for (address, found) in &state.objects {
        for object in found {
            let given = |what: &str| object.given.get(what).cloned().unwrap_or_default().into();
            table.row([
                address.to_string().into(),
                object.name.clone().into(),
                object.id.clone().into(),
                given("public_ip"),
                given("private_ip"),
            ]);
        }
    }
    table.text(paint)
}
