//! The project in which the account lists what an environment has. One that is there is used; one that is made
//! is ours by its description, and goes again when nothing else is listed in it.
//! Source: docs.digitalocean.com/reference/api, "Projects" and "Project Resources".

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::http::Refusal;
use super::{DigitalOcean, read};
use crate::model::{Address, FIXED, InfraObject, InfraSpec, InfraState, Kind};

/// What the API says while something is still listed in a project that is to go.
const NOT_EMPTY: u16 = 412;

/// The name by which projects know something of an account.
fn urn(address: &Address, id: &str) -> Option<String> {
    let kind = match address.kind() {
        Kind::Machine => "droplet",
        Kind::Disk => "volume",
        Kind::ReservedIp => "floatingip",
        Kind::LoadBalancer => "loadbalancer",
        Kind::Zone => "domain",
        _ => return None,
    };
    Some(format!("do:{kind}:{id}"))
}

/// Whether something is put in the environment's project. A reserved address is listed where the machine is
/// that it leads to, and a zone may be for several environments.
pub fn lists(address: &Address) -> bool {
    matches!(address.kind(), Kind::Machine | Kind::Disk | Kind::LoadBalancer)
}

impl DigitalOcean {
    /// Adds the environment's project, if there is one; `state` is what else there is.
    pub(super) fn project(&self, state: &mut InfraState) -> Result<(), Refusal> {
        let Some((id, name, ours)) = self.find_project()? else { return Ok(()) };
        let mut known = BTreeMap::new();
        let mut resources = BTreeSet::new();
        for (address, found) in &state.objects {
            for object in found {
                known.extend(urn(address, &object.id).map(|urn| (urn, address)));
                // Load balancers say themselves where they are listed, and may be missing there.
                let own = object.given.get("project") == Some(&id);
                resources.extend(own.then(|| address.to_string()));
            }
        }
        let listed = self.listed(&id)?;
        let mut others = 0;
        for urn in &listed {
            match known.get(urn) {
                Some(address) if lists(address) => drop(resources.insert(address.to_string())),
                Some(_) => {}
                None => others += 1,
            }
        }
        let fixed = match (ours, others) {
            (false, _) => Some("not made by us"),
            (true, 0) => None,
            (true, _) => Some("lists what is not ours"),
        };
        let attributes = BTreeMap::from([
            ("name".to_owned(), json!(name)),
            ("resources".to_owned(), json!(resources)),
        ]);
        let given = fixed.map(|why| (FIXED.to_owned(), why.to_owned())).into_iter().collect();
        let address = Address::project(&self.site.environment);
        state.add(address, InfraObject { id, name, attributes, given });
        Ok(())
    }

    /// The id and name of the project that the configuration names, or else of the one that is ours, and
    /// whether it is.
    fn find_project(&self) -> Result<Option<(String, String, bool)>, Refusal> {
        let all = match self.list("/v2/projects", "projects") {
            // A token that may not see them is enough where none is asked for.
            Err(Refusal::Said { status: 403, .. }) if self.project.is_none() => return Ok(None),
            all => all?,
        };
        let mark = read::description(&self.site, &Address::project(&self.site.environment));
        let ours = |it: &&Value| it["description"] == mark;
        let named = |it: &&Value| self.project.as_ref().is_some_and(|name| it["name"] == **name);
        let found = all.iter().find(named).or_else(|| all.iter().find(ours));
        Ok(found.map(|it| (read::text(&it["id"]), read::text(&it["name"]), ours(&it))))
    }

    /// The names of what a project lists.
    fn listed(&self, id: &str) -> Result<Vec<String>, Refusal> {
        let all = self.list(&format!("/v2/projects/{id}/resources"), "resources")?;
        // What is gone may be listed for a while.
        let there = all.iter().filter(|it| it["status"] != "not_found");
        Ok(there.map(|it| read::text(&it["urn"])).collect())
    }

    /// Makes the project, unless it is there, and lists everything in it that should be.
    pub(super) fn settle_project(
        &self,
        address: &Address,
        object: &InfraSpec,
    ) -> Result<(), Refusal> {
        let name = object.value("name").and_then(Value::as_str).unwrap_or_default();
        let id = match self.find_project()? {
            Some((id, has, _)) if has == name => id,
            Some((id, ..)) => {
                self.api.patch(&format!("/v2/projects/{id}"), &json!({ "name": name }))?;
                id
            }
            None => self.make_project(address, name)?,
        };
        let listed = self.listed(&id)?;
        let mut urns = Vec::new();
        let resources = object.value("resources").and_then(Value::as_array).into_iter().flatten();
        for resource in resources.filter_map(|it| it.as_str()?.parse::<Address>().ok()) {
            let found = self.id_of(&resource)?;
            let urn = found.and_then(|id| urn(&resource, &id));
            urns.extend(urn.filter(|urn| !listed.contains(urn)));
        }
        self.list_in(&id, urns)
    }

    fn make_project(&self, address: &Address, name: &str) -> Result<String, Refusal> {
        let description = read::description(&self.site, address);
        let body =
            json!({ "name": name, "purpose": "Web Application", "description": description });
        match self.api.post("/v2/projects", &body) {
            Ok(made) => Ok(read::text(&made["project"]["id"])),
            // No two projects have one name: a second order would be refused.
            Err(Refusal::Lost(why)) => match self.find_project()? {
                Some((id, ..)) => Ok(id),
                None => Err(Refusal::Lost(why)),
            },
            Err(refusal) => Err(refusal),
        }
    }

    fn list_in(&self, project: &str, urns: Vec<String>) -> Result<(), Refusal> {
        if urns.is_empty() {
            return Ok(());
        }
        let path = format!("/v2/projects/{project}/resources");
        // Listing something twice is listing it once.
        let answer = match self.api.post(&path, &json!({ "resources": urns })) {
            Err(Refusal::Lost(_)) => self.api.post(&path, &json!({ "resources": urns }))?,
            answer => answer?,
        };
        let failed = |it: &&Value| it["status"] == "not_found" || it["status"] == "service_down";
        let told = answer["resources"].as_array().into_iter().flatten();
        match told.filter(|it| urns.contains(&read::text(&it["urn"]))).find(failed) {
            Some(it) => {
                let message = format!("{} could not be listed: {}", it["urn"], it["status"]);
                Err(Refusal::Said { status: 409, message })
            }
            None => Ok(()),
        }
    }

    /// Takes the project away. What is still listed in it goes to the account's default one.
    pub(super) fn remove_project(&self, id: &str) -> Result<(), Refusal> {
        let listed = match self.listed(id) {
            Err(refusal) if refusal.is_absence() => return Ok(()),
            listed => listed?,
        };
        let balancers = self.balancers()?;
        let balancers = balancers.iter().filter(|it| it["project_id"] == id);
        let balancers = balancers.map(|it| format!("do:loadbalancer:{}", read::text(&it["id"])));
        let listed: BTreeSet<String> = listed.into_iter().chain(balancers).collect();
        self.list_in("default", listed.into_iter().collect())?;
        self.leaves(&format!("/v2/projects/{id}"), &[NOT_EMPTY])
    }
}
