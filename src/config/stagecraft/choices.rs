//! Keys that take one of a few words.

use crate::config::diagnostic::did_you_mean;
use crate::config::yaml::Node;
use crate::model::{OnFailure, RolloutOrder, Transport};

use super::decode::{Problems, list};

/// Reads one of a few words.
pub(super) fn choose<T: Copy>(
    node: &Node,
    problems: &mut Problems,
    words: &[(&str, T)],
) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let Some(text) = node.as_str() else {
        problems.expected(&format!("a string: one of {}", list(&names)), node);
        return None;
    };
    let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if chosen.is_none() {
        let help = match did_you_mean(text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use {}", list(&names)),
        };
        problems.refused(node, &format!("does not know `{text}`"), &help);
    }
    chosen
}

/// A key that takes one of a few words.
macro_rules! words {
    ($name:ident { $($(#[doc = $doc:literal])+ $word:literal => $value:ident,)+ }) => {
        impl $crate::config::stagecraft::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                problems: &mut $crate::config::stagecraft::decode::Problems,
            ) -> Option<Self> {
                $crate::config::stagecraft::choices::choose(
                    node, problems, &[$(($word, $name::$value)),+])
            }
            fn schema(_: &mut $crate::config::stagecraft::schema::Definitions) -> serde_json::Value {
                serde_json::json!({ "oneOf": [$(
                    $crate::config::stagecraft::schema::described(
                        &[$($doc),+],
                        serde_json::json!({ "const": $word }),
                    )
                ),+] })
            }
            fn to_json(&self) -> Option<serde_json::Value> {
                match self { $($name::$value => Some($word.into()),)+ }
            }
        }
    };
}

/// Declares an enumeration that a key takes.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ pub enum $name:ident { $($(#[doc = $word_doc:literal])+ $value:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $word_doc])+ $value,)+ }

        $crate::config::stagecraft::choices::words!($name { $($(#[doc = $word_doc])+ $word => $value,)+ });

        impl $name {
            /// The word that the file uses.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $word,)+ }
            }
        }
    };
}
pub(super) use {choice, words};

words!(Transport {
    /// The system's `ssh`.
    "ssh" => Ssh,
    /// This machine.
    "local" => Local,
});

words!(RolloutOrder {
    /// New beside old.
    "start-first" => StartFirst,
    /// Old before new.
    "stop-first" => StopFirst,
});

words!(OnFailure {
    /// Everything goes back to the newest release that succeeded.
    "rollback" => Rollback,
    /// Everything stays as it is.
    "pause" => Pause,
});
