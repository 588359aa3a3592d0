//! Files that say the same in another order.

/// A block-style YAML or env file with the entries of every mapping in reverse; what is in flow
/// style and the items of lists stay as they are. Comments go.
pub fn reversed(text: &str) -> String {
    let kept = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().filter(kept).collect();
    block(&lines).concat()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A mapping's lines: its entries in reverse, each with what is below it reversed as well.
fn block(lines: &[&str]) -> Vec<String> {
    let Some(first) = lines.first() else { return Vec::new() };
    if first.trim_start().starts_with("- ") {
        return lines.iter().map(|line| format!("{line}\n")).collect();
    }
    let depth = indent(first);
    let starts: Vec<usize> = (0..lines.len()).filter(|i| indent(lines[*i]) == depth).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let mut entries: Vec<Vec<String>> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let head = [format!("{}\n", lines[*start])];
            head.into_iter().chain(block(&lines[start + 1..end])).collect()
        })
        .collect();
    entries.reverse();
    entries.concat()
}
