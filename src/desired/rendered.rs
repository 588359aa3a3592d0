//! Rendered services. Most come out the same on all their hosts, and what takes long to work out of a
//! definition is then taken over from the host before.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::render;
use crate::config::compose::references_of;
use crate::config::yaml;
use crate::model::definition::fingerprint;
use crate::model::{EnvUse, Object};

/// How deep a service's entry lies in a Compose file.
const INDENT: usize = 2;

/// A service's definition as its host's Compose file has it.
pub struct Rendered {
    pub definition: Object,
    pub gist: Rc<Gist>,
}

/// What follows from a definition alone.
pub struct Gist {
    /// The digest of what containers are made from.
    pub fingerprint: String,
    /// The service's entry in the Compose file.
    pub entry: String,
    /// What it uses of the env file.
    pub env: EnvUse,
}

/// The newest gist of each service, with its definition.
#[derive(Default)]
pub struct Gists<'a> {
    newest: BTreeMap<&'a str, (Object, Rc<Gist>)>,
}

impl<'a> Gists<'a> {
    /// Labels a definition with its digest, which makes it complete.
    pub fn complete(&mut self, name: &'a str, mut definition: Object) -> Rendered {
        if let Some((known, gist)) = self.newest.get(name) {
            render::label(&mut definition, &gist.fingerprint);
            if definition == *known {
                return Rendered { definition, gist: gist.clone() };
            }
        }
        let fingerprint = fingerprint(&definition);
        render::label(&mut definition, &fingerprint);
        let gist = Rc::new(Gist {
            fingerprint,
            entry: yaml::emit_entry(name, &definition, INDENT),
            env: match definition.contains_key("env_file") {
                true => EnvUse::All,
                false => EnvUse::Keys(references_of(&definition)),
            },
        });
        self.newest.insert(name, (definition.clone(), gist.clone()));
        Rendered { definition, gist }
    }
}
