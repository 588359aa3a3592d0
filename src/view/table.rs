//! Tables of aligned columns.

use super::style::{Paint, Role};
use super::{markdown, text};

/// A table in the making. Cells are plain text; a column's colour is set when it is printed.
#[derive(Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One cell.
pub struct Cell {
    text: String,
    role: Option<Role>,
}

impl Cell {
    /// A cell in a colour, fit to print whatever it holds.
    pub fn new(text: impl Into<String>, role: Option<Role>) -> Self {
        Self { text: text::line(&text.into()).into_owned(), role }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, None)
    }
}

impl Table {
    /// A table with these headings.
    pub fn new(head: impl IntoIterator<Item = &'static str>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells at its end are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, without blanks at the ends of lines. Columns that are empty in every row
    /// are left out.
    pub fn text(&self, paint: Paint) -> String {
        let cell = |row: &'_ Vec<Cell>, column: usize| -> (String, Option<Role>) {
            row.get(column).map(|cell| (cell.text.clone(), cell.role)).unwrap_or_default()
        };
        let columns: Vec<(usize, usize)> = (0..self.head.len())
            .filter_map(|column| {
                let widest = self.rows.iter().map(|row| text::width(&cell(row, column).0)).max()?;
                (widest > 0).then(|| (column, widest.max(text::width(self.head[column]))))
            })
            .collect();
        let mut out = String::new();
        let mut print = |cells: Vec<(String, Option<Role>)>| {
            let filled = cells.iter().rposition(|(text, _)| !text.is_empty()).unwrap_or(0);
            for (at, ((text, role), (_, width))) in cells.iter().zip(&columns).enumerate() {
                if at > filled {
                    break;
                }
                let padded =
                    if at == filled { text.clone() } else { text::pad(text, *width) + "  " };
                // The colour covers the word, not the blanks after it.
                let (word, blanks) = padded.split_at(text.len());
                out.push_str(&role.map_or(word.to_owned(), |role| paint.paint(role, word)));
                out.push_str(blanks);
            }
            out.push('\n');
        };
        let head = |column: usize| (self.head[column].to_owned(), Some(Role::Dim));
        print(columns.iter().map(|(column, _)| head(*column)).collect());
        for row in &self.rows {
            print(columns.iter().map(|(column, _)| cell(row, *column)).collect());
        }
        out
    }

    /// The table as Markdown, in which no cell's text is markup.
    pub fn markdown(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|head| head.to_lowercase()).collect();
        let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for row in &self.rows {
            let cells: Vec<String> = (0..self.head.len())
                .map(|column| {
                    row.get(column).map(|cell| markdown::escape(&cell.text)).unwrap_or_default()
                })
                .collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        out
    }
}
