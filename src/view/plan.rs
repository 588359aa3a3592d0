//! A plan as text, in the manner that people know from Terraform.

use std::collections::BTreeMap;

use crate::model::{
    Act, Action, Address, Cause, Change, FieldChange, InfraSpec, KNOWN_AFTER_APPLY, Kind, Part,
    Plan, Step,
};

use super::style::Role;
use super::text::{self, count, line};
use super::{Options, error, words};

/// Lines of a diff that are shown without `--verbose`.
const DIFF_LINES: usize = 80;
/// Widest column of names that values are aligned behind.
const WIDEST: usize = 48;

/// The whole plan as text: header, changes, what is blocked, notes, and the summary line.
pub fn text(plan: &Plan, options: &Options) -> String {
    let views: Vec<View> = plan.parts().map(|part| View::new(part, *options)).collect();
    let mut sections = Vec::new();
    let changes = views.iter().filter(|view| !view.plan.changes.is_empty());
    let changes: Vec<String> = changes.map(View::changes).collect();
    if !changes.is_empty() {
        let header = options.paint.paint(Role::Strong, header(plan));
        sections.push(format!("{header}\n\n{}", changes.join("\n")));
    }
    if plan.is_blocked() {
        let title =
            options.paint.paint(Role::Strong, "Blocked; nothing is planned for these:") + "\n";
        sections.push(title + &views.iter().map(View::blocked).collect::<String>());
    }
    let notes = plan.parts().flat_map(|part| part.notes.iter().map(move |note| (note, part)));
    let notes: String =
        notes.map(|(note, part)| format!("Note: {}\n", words::note(note, part))).collect();
    if !notes.is_empty() {
        sections.push(notes);
    }
    sections.extend(fallback(plan));
    if options.verbose {
        let views = views.iter().filter(|view| !view.plan.steps.is_empty());
        sections.extend(views.map(View::all_steps));
    }
    sections.push(options.paint.paint(Role::Strong, summary(plan)) + "\n");
    sections.join("\n")
}

/// Where everything goes back to when a service fails, where more than one rolls.
pub(super) fn fallback(plan: &Plan) -> Option<String> {
    let rolls = plan.changes.iter().filter(|change| change.rollout.is_some()).count();
    let release = plan.falls_back_to.filter(|_| rolls > 1)?;
    Some(format!("If a rollout fails, everything goes back to release {release}.\n"))
}

/// The last line of a plan's text: what it comes to.
pub fn summary(plan: &Plan) -> String {
    let environment = line(&plan.environment);
    let blocked = words::blocked_count(plan);
    if plan.parts().any(|part| !part.changes.is_empty()) {
        let blocked = blocked.map(|blocked| format!(" {blocked}.")).unwrap_or_default();
        return format!("Plan: {}.{blocked}", words::to_do(&plan.total()));
    }
    // Infrastructure is no release.
    let release = plan.base_release.filter(|_| plan.request.part.has_application());
    match (blocked, plan.request.rollback_to, release) {
        (Some(blocked), ..) => {
            format!("No changes in what could be seen of {environment}. {blocked}.")
        }
        (None, Some(release), _) => {
            format!("No changes. {environment} is as release {release} left it.")
        }
        (None, None, Some(release)) => {
            format!("No changes. {environment} is as configured (release {release}).")
        }
        (None, None, None) => format!("No changes. {environment} is as configured."),
    }
}

/// The question before an apply; only `yes` is a yes.
pub fn question(plan: &Plan) -> String {
    if let Part::NoInfrastructure { .. } = plan.request.part {
        let name = line(&plan.environment);
        return format!("This can't be undone. Only the environment's name, `{name}`, is a yes: ");
    }
    format!("Perform these actions in {}? Only `yes` is taken for yes: ", line(&plan.environment))
}

/// The question after a canary; only `yes` is a yes.
pub fn go_on(service: &str, canary: u32) -> String {
    let service = line(service);
    let (runs, word) = if canary == 1 { ("runs", "is") } else { ("run", "are") };
    format!(
        "{canary} of {service} {runs} the new version and {word} healthy. Go on with the others? \
         Only `yes` is taken for yes; anything else goes back: "
    )
}

/// What is said when the question was answered otherwise.
pub fn declined() -> &'static str {
    "Nothing was done.\n"
}

/// What is said of a plan that was saved to a file.
pub fn saved(path: &str) -> String {
    let path = line(path);
    format!("Saved as {path}; `stagecraft apply {path}` performs exactly these actions.\n")
}

/// The line above the changes.
fn header(plan: &Plan) -> String {
    let environment = line(&plan.environment);
    match (plan.request.rollback_to, &plan.version) {
        (Some(release), version) => {
            let version =
                version.as_ref().map(|version| format!(" ({})", line(version))).unwrap_or_default();
            format!(
                "Stagecraft will perform these actions to take {environment} back to release \
                 {release}{version}:"
            )
        }
        (None, Some(version)) => format!(
            "Stagecraft will perform these actions in {environment}, to deploy {}:",
            line(version)
        ),
        (None, None) => format!("Stagecraft will perform these actions in {environment}:"),
    }
}

/// The symbol of an action.
pub(super) fn symbol(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Replace => "-/+",
        Action::Delete => "-",
    }
}

fn role(action: Action) -> Role {
    match action {
        Action::Create => Role::Add,
        Action::Update | Action::Replace => Role::Change,
        Action::Delete => Role::Destroy,
    }
}

/// A plan with its steps by resource.
pub(super) struct View<'a> {
    plan: &'a Plan,
    options: Options,
    steps: BTreeMap<&'a Address, Vec<&'a Step>>,
}

impl<'a> View<'a> {
    pub(super) fn new(plan: &'a Plan, options: Options) -> Self {
        let mut steps: BTreeMap<&Address, Vec<&Step>> = BTreeMap::new();
        for step in &plan.steps {
            steps.entry(&step.address).or_default().push(step);
        }
        Self { plan, options, steps }
    }

    pub(super) fn steps(&self, change: &Change) -> &[&'a Step] {
        self.steps.get(&change.address).map(Vec::as_slice).unwrap_or_default()
    }

    fn paint(&self, role: Role, text: impl AsRef<str>) -> String {
        self.options.paint.paint(role, text)
    }

    /// All changes: neighbours that take one line each stand together, the others apart.
    fn changes(&self) -> String {
        let changes = &self.plan.changes;
        let brief: Vec<Option<String>> = changes.iter().map(|change| self.brief(change)).collect();
        let mut out = String::new();
        let mut at = 0;
        while at < changes.len() {
            if at > 0 {
                out.push('\n');
            }
            if brief[at].is_none() {
                self.block(&mut out, &changes[at]);
                at += 1;
                continue;
            }
            let run = brief[at..].iter().take_while(|brief| brief.is_some()).count();
            let width = column(changes[at..at + run].iter().map(name));
            for (change, brief) in changes[at..at + run].iter().zip(&brief[at..]) {
                let brief = brief.as_deref().unwrap_or_default();
                let name = name(change);
                let name = if brief.is_empty() { name } else { text::pad(&name, width) + "  " };
                out.push_str(&format!("{}{name}{brief}\n", self.symbol(change.action)));
            }
            at += run;
        }
        out
    }

    fn symbol(&self, action: Action) -> String {
        let symbol = symbol(action);
        let indent = " ".repeat(3 - symbol.len());
        format!("{indent}{} ", self.paint(role(action), symbol))
    }

    /// What one line can say of a change; none where it takes more.
    pub(super) fn brief(&self, change: &Change) -> Option<String> {
        let plain = |cause: &Cause| {
            matches!(cause, Cause::Missing | Cause::Requested | Cause::Upstream { .. })
        };
        match change.action {
            _ if change.address.kind() == Kind::Release => Some(self.release(change)),
            _ if self.options.verbose => None,
            Action::Create if change.causes.iter().all(plain) => {
                Some(gist(change, self.steps(change)))
            }
            Action::Delete => {
                let mut parts: Vec<String> = self.causes(change).collect();
                parts.extend(self.steps(change).iter().find_map(|step| match &step.effect.act {
                    Act::Stop { containers, .. } => {
                        let names = containers.iter().map(|container| &container.name);
                        Some(format!("stop {}", text::some(names)))
                    }
                    _ => None,
                }));
                parts.extend(self.loss(change));
                Some(parts.join("; "))
            }
            Action::Create | Action::Update | Action::Replace => None,
        }
    }

    /// What is lost with something that is destroyed.
    fn loss(&self, change: &Change) -> Option<String> {
        let lost = match change.address.kind() {
            Kind::Machine => "what is on it is lost",
            Kind::Volume | Kind::Disk => "the data in it is lost",
            Kind::ReservedIp | Kind::LoadBalancer => "its address is lost",
            _ => return None,
        };
        Some(self.paint(Role::Destroy, lost))
    }

    fn release(&self, change: &Change) -> String {
        let next = self.plan.base_release.map_or(1, |number| number + 1);
        match change.action {
            Action::Delete => String::new(),
            _ => format!("recorded as release {next}"),
        }
    }

    fn causes(&self, change: &Change) -> impl Iterator<Item = String> {
        change.causes.iter().map(|cause| {
            let role = match cause {
                Cause::Drifted { .. } | Cause::Unfinished { .. } => Role::Warn,
                _ => Role::Dim,
            };
            self.paint(role, words::cause(cause, self.plan))
        })
    }

    /// A change over several lines.
    fn block(&self, out: &mut String, change: &Change) {
        out.push_str(&format!("{}{}\n", self.symbol(change.action), name(change)));
        let mut say = |line: String| out.push_str(&format!("      {line}\n"));
        let hash = self.paint(Role::Dim, "#");
        self.causes(change).for_each(|cause| say(format!("{hash} {cause}")));
        self.fields(&change.fields).for_each(&mut say);
        if change.action == Action::Replace {
            self.loss(change).into_iter().for_each(&mut say);
        }
        if let Some(diff) = &change.diff {
            self.diff(diff).for_each(&mut say);
        }
        let steps = self.steps(change);
        match &change.rollout {
            Some(rollout) => {
                say(words::rollout(rollout, steps));
                if let Some(undo) = words::undo(change, steps) {
                    say(self.paint(Role::Dim, undo));
                }
            }
            // A repair shows what is done; a field or a diff says that by itself.
            None if change.diff.is_none()
                && (change.fields.is_empty() || change.address.kind() == Kind::Service) =>
            {
                steps.iter().for_each(|step| say(words::act(&step.effect.act)));
            }
            None => {}
        }
    }

    fn fields<'b>(&'b self, fields: &'b [FieldChange]) -> impl Iterator<Item = String> + 'b {
        let width = column(fields.iter().map(|field| line(&field.path).into_owned()));
        fields.iter().map(move |field| {
            let (symbol, role, values) = values(field);
            let symbol = self.paint(role, symbol);
            format!("{symbol} {}  {values}", text::pad(&line(&field.path), width))
        })
    }

    fn diff<'b>(&'b self, diff: &'b str) -> impl Iterator<Item = String> + 'b {
        let lines: Vec<String> = text::block(diff)
            // The two lines that name the file say nothing that the address doesn't.
            .skip_while(|line| line.starts_with("--- ") || line.starts_with("+++ "))
            .collect();
        let most = if self.options.verbose { usize::MAX } else { DIFF_LINES };
        let left = lines.len().saturating_sub(most);
        let rest = (left > 0).then(|| {
            let rest = format!("… {}; --verbose shows them", count(left, "more line"));
            self.paint(Role::Dim, rest)
        });
        lines
            .into_iter()
            .take(most)
            .map(|line| if self.options.verbose { line } else { text::fit(&line, text::LONGEST) })
            .map(|line| match line.as_bytes().first() {
                Some(b'+') => self.paint(Role::Add, line),
                Some(b'-') => self.paint(Role::Destroy, line),
                Some(b'@') => self.paint(Role::Dim, line),
                _ => line,
            })
            .chain(rest)
    }

    fn blocked(&self) -> String {
        let mut out = String::new();
        for entry in &self.plan.blocked {
            out.push('\n');
            out.push_str(&error::blocked_entry(entry, self.options.paint));
        }
        out
    }

    fn all_steps(&self) -> String {
        let digits = self.plan.steps.len().to_string().len();
        let host = column(self.plan.steps.iter().map(|step| line(&step.effect.host).into_owned()));
        let mut out = self.paint(Role::Strong, "Steps:") + "\n";
        for step in &self.plan.steps {
            let after: Vec<String> = step.after.iter().map(usize::to_string).collect();
            let after = if after.is_empty() {
                String::new()
            } else {
                self.paint(Role::Dim, format!("  (after {})", text::some(after)))
            };
            out.push_str(&format!(
                "  {:>digits$}  {}  {}{after}\n",
                step.id,
                text::pad(&line(&step.effect.host), host),
                words::act(&step.effect.act),
            ));
            for undo in &step.undo {
                let blank = " ".repeat(2 + digits + 2 + host + 2);
                let undo = format!("undone by: {}", words::act(&undo.act));
                out.push_str(&format!("{blank}{}\n", self.paint(Role::Dim, undo)));
            }
        }
        out
    }
}

fn name(change: &Change) -> String {
    line(&change.address.to_string()).into_owned()
}

/// The width of a column that fits all names that are not too wide.
fn column(names: impl Iterator<Item = String>) -> usize {
    names.map(|name| text::width(&name)).filter(|width| *width <= WIDEST).max().unwrap_or(0)
}

/// The symbol of a changed attribute, its colour, and its values.
pub(super) fn values(field: &FieldChange) -> (&'static str, Role, String) {
    let show = |value: &serde_json::Value| {
        if field.sensitive { "(sensitive)".to_owned() } else { text::value(value) }
    };
    match (&field.before, &field.after) {
        (None, None) => ("~", Role::Change, String::new()),
        (None, Some(after)) => ("+", Role::Add, text::elide(&show(after), 0)),
        (Some(before), None) => ("-", Role::Destroy, text::elide(&show(before), 0)),
        (Some(_), Some(_)) if field.sensitive => ("~", Role::Change, "(sensitive)".to_owned()),
        (Some(before), Some(after)) => {
            let (before, after) = text::elide_pair(&show(before), &show(after));
            ("~", Role::Change, format!("{before} -> {after}"))
        }
    }
}

/// A new resource in a few words.
pub(super) fn gist(change: &Change, steps: &[&Step]) -> String {
    let acts = steps.iter().map(|step| &step.effect.act);
    let mut parts: Vec<String> = Vec::new();
    for act in acts {
        match act {
            Act::PrepareHost { directory } => parts.push(line(directory).into_owned()),
            Act::WriteFile { content, .. } => {
                parts.push(count(content.lines().count(), "line"));
                if content.contains(KNOWN_AFTER_APPLY) {
                    parts.push("addresses known after apply".to_owned());
                }
            }
            Act::WriteEnv { keys, .. } => parts.push(count(keys.len(), "key")),
            Act::RestoreEnv { version, .. } => {
                parts.push(format!("version {}", words::short(version)));
            }
            Act::CreateNetwork { name, .. } | Act::CreateVolume { name, .. } => {
                parts.push(line(name).into_owned());
            }
            Act::CreateObject { object, .. } => parts.extend(object_words(object)),
            Act::Run { service, command } => {
                let command = line(&command.join(" ")).into_owned();
                parts.push(format!("run `{command}` once, before {} rolls", line(service)));
            }
            Act::Route { route, .. } => {
                let proxy = line(&route.proxy.service);
                parts.push(match route.sources.is_empty() {
                    true => format!("by {proxy}"),
                    false => format!("to {} by {proxy}", text::some(route.sources.keys())),
                });
            }
            _ => {}
        }
    }
    if !change.fields.is_empty() && change.address.is_infrastructure() {
        parts.push("address known after apply".to_owned());
    }
    if change.address.kind() == Kind::Service {
        let rollout = change.rollout.iter();
        parts.extend(rollout.map(|rollout| line(&rollout.image).into_owned()));
        parts.extend(
            change.rollout.iter().map(|rollout| count(rollout.replicas as usize, "replica")),
        );
    }
    parts.join(", ")
}

/// What a cloud object is to be: its slugs, sizes and numbers of rules.
fn object_words(object: &InfraSpec) -> impl Iterator<Item = String> {
    // Of a machine people know the size first; the rest stands in its order.
    let first = |name: &&String| if *name == "size" { 0 } else { 1 };
    let mut names: Vec<&String> = object.attributes.keys().collect();
    names.sort_by_key(first);
    names.into_iter().filter_map(|name| {
        let value = object.value(name)?;
        let plain = || value.as_str().map(|text| line(text).into_owned());
        match (name.as_str(), value) {
            ("size" | "image" | "region", _) => plain(),
            ("size_gib", value) => Some(format!("{} GiB", text::value(value))),
            ("inbound", serde_json::Value::Array(rules)) => {
                Some(count(rules.len(), "rule") + " for what comes in")
            }
            ("attached_to", _) => plain().map(|machine| format!("on {machine}")),
            ("path", _) => plain().map(|path| format!("at {path}")),
            ("leads_to", _) => plain().map(|machine| format!("to {machine}")),
            ("nodes", value) => Some(count(value.as_u64().unwrap_or_default() as usize, "node")),
            ("name", _) if object.value("resources").is_some() => plain(),
            ("data", serde_json::Value::Array(to)) => {
                Some(format!("to {}", text::some(to.iter().filter_map(|one| one.as_str()))))
            }
            ("source", value) => Some(match value.as_str() {
                Some("docker") => "Docker from its own repository".to_owned(),
                _ => "Docker from the distribution".to_owned(),
            }),
            ("unattended_upgrades", _) => Some("security updates".to_owned()),
            ("ssh", serde_json::Value::Bool(true)) => Some("with Tailscale SSH".to_owned()),
            ("tags", serde_json::Value::Array(tags)) if object.value("state").is_some() => {
                Some(text::some(tags.iter().filter_map(|tag| tag.as_str())))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
