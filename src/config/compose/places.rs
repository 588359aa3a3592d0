//! Tables of places in a Compose model: patterns such as `services.*.ports`, read once into a tree
//! that a walk over the model descends along with it, and sees early where nothing lies below.

use super::path::{Path, Step};

/// What a table says of a place and of those below it.
#[derive(Debug)]
pub(super) struct Places<T> {
    /// What it says of this place.
    pub here: Option<T>,
    below: Vec<(&'static str, Places<T>)>,
}

impl<T: Copy> Places<T> {
    /// Reads a table; `*` stands for any one step, and has no other steps beside it.
    pub fn new(table: &[(&'static str, T)]) -> Self {
        let mut root = Self { here: None, below: Vec::new() };
        for (pattern, what) in table {
            let mut place = &mut root;
            for step in pattern.split('.') {
                let known = place.below.iter().position(|(other, _)| *other == step);
                let at = known.unwrap_or_else(|| {
                    place.below.push((step, Self { here: None, below: Vec::new() }));
                    place.below.len() - 1
                });
                place = &mut place.below[at].1;
            }
            place.here = Some(*what);
        }
        root
    }

    /// The place that a key leads to, if the table says anything of it or below it.
    pub fn key(&self, key: &str) -> Option<&Self> {
        let found = self.below.iter().find(|(step, _)| *step == "*" || *step == key);
        found.map(|(_, place)| place)
    }

    /// The place that a list's items are at.
    pub fn item(&self) -> Option<&Self> {
        self.below.iter().find(|(step, _)| *step == "*").map(|(_, place)| place)
    }

    /// The place that a path leads to from here.
    pub fn at(&self, path: &Path) -> Option<&Self> {
        let Some(parent) = path.parent() else { return Some(self) };
        let place = self.at(parent)?;
        match path.step() {
            Step::Key(key) => place.key(key),
            Step::Index(_) => place.item(),
            Step::Root => Some(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_what_the_table_says() {
        let places = Places::new(&[("services.*", 1), ("services.*.ports.*", 2)]);
        let services = Path::ROOT.key("services");
        let web = services.key("a.b");
        let ports = web.key("ports");
        let first = ports.index(0);
        let here = |path: &Path| places.at(path).map(|place| place.here);
        assert_eq!(here(&web), Some(Some(1)));
        assert_eq!((here(&services), here(&ports)), (Some(None), Some(None)));
        assert_eq!(here(&first), Some(Some(2)));
        let (image, deep) = (web.key("image"), first.key("x"));
        assert_eq!((here(&image), here(&deep)), (None, None));
        let place = places.key("services").and_then(|place| place.item());
        assert_eq!(place.and_then(|place| place.here), Some(1));
    }
}
