//! One report.json read, whichever version wrote it: what it has beyond this is passed over, what it lacks is
//! empty. When it began, and its cells' names and verdicts, it must have: there is no history without them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::error::Category;

use super::Unreadable;

/// A text that many cells share, by its number in [`Texts`].
pub(super) type Text = u32;

/// Each text once: a history of a hundred nights has the same few thousand.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: HashMap<Box<str>, Text>,
    texts: Vec<Box<str>>,
}

impl Texts {
    fn number(&mut self, text: &str) -> Text {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // More than four thousand million texts do not fit into memory.
        let number = Text::try_from(self.texts.len()).unwrap_or(Text::MAX);
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }

    pub(super) fn text(&self, number: Text) -> &str {
        &self.texts[number as usize]
    }
}

/// What a history keeps of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub(super) check: CheckKey,
    pub(super) client: Text,
    pub(super) to: Text,
    pub(super) request: Text,
    /// Empty where the report is older than surfaces are.
    pub(super) got: Text,
    /// As it is written: another svidproof may have others.
    pub(super) verdict: Text,
    /// The beginning of the reason.
    pub(super) why: Text,
}

/// Scenario, stage, check.
pub(super) type CheckKey = [Text; 3];

/// One report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Night {
    pub(super) file: String,
    /// Other files that are the same report.
    pub(super) copies: Vec<String>,
    pub(super) run: String,
    pub(super) started: Timestamp,
    pub(super) svidproof: String,
    pub(super) provider: String,
    pub(super) images: String,
    pub(super) versions: BTreeMap<String, String>,
    pub(super) errors: Vec<String>,
    pub(super) phases: Vec<Phase>,
    pub(super) cells: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Phase {
    pub(super) name: String,
    #[serde(default)]
    pub(super) started: f64,
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
struct Written<'a> {
    started: Timestamp,
    #[serde(borrow)]
    checks: Vec<Row<'a>>,
    #[serde(borrow, default)]
    helm_tests: Vec<Row<'a>>,
    #[serde(default)]
    run: String,
    #[serde(default)]
    svidproof: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    images: String,
    #[serde(default)]
    versions: BTreeMap<String, String>,
    #[serde(default)]
    phases: Vec<Phase>,
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    scenario: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    check: Cow<'a, str>,
    #[serde(borrow)]
    verdict: Cow<'a, str>,
    #[serde(borrow, default, rename = "as")]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    to: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Cow<'a, str>,
    #[serde(borrow, default)]
    got: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

/// The reports that were read so far.
#[derive(Debug, Default)]
pub struct Nights {
    pub(super) texts: Texts,
    pub(super) read: Vec<Night>,
    pub(super) unreadable: Vec<Unreadable>,
}

/// Of a reason a history has this many characters.
const REASON: usize = 200;

impl Nights {
    /// Takes one report in. What is none is kept as unreadable, under its file's name.
    pub fn add(&mut self, file: &str, content: &[u8]) {
        let read = std::str::from_utf8(content)
            .map_err(|error| format!("it is no text in UTF-8 from its byte {} on", error.valid_up_to()))
            .and_then(|text| serde_json::from_str(text).map_err(|error| in_words(&error)));
        match read {
            Ok(written) => self.keep(file, written),
            Err(why) => self.unreadable(file, why),
        }
    }

    /// Names what could not be read.
    pub fn unreadable(&mut self, file: impl Into<String>, why: impl Into<String>) {
        self.unreadable.push(Unreadable { file: file.into(), why: why.into() });
    }

    /// How many reports there are, those that could not be read among them.
    pub fn count(&self) -> usize {
        self.read.len() + self.unreadable.len()
    }

    fn keep(&mut self, file: &str, written: Written) {
        let Written { started, run, svidproof, provider, images, versions, phases, errors, .. } = written;
        let rows = written.checks.iter().chain(&written.helm_tests);
        let cells = rows.map(|row| cell(&mut self.texts, row)).collect();
        let (file, copies) = (file.to_owned(), vec![]);
        let night = Night {
            file,
            copies,
            run,
            started,
            svidproof,
            provider,
            images,
            versions,
            errors,
            phases,
            cells,
        };
        match self.read.iter_mut().find(|one| is_same(one, &night)) {
            Some(known) => known.copies.push(night.file),
            None => self.read.push(night),
        }
    }
}

/// Artefacts are copied about: what says all the same is one report.
fn is_same(one: &Night, other: &Night) -> bool {
    let nameless = |night: &Night| Night { file: String::new(), copies: vec![], ..night.clone() };
    (one.started, &one.run) == (other.started, &other.run) && nameless(one) == nameless(other)
}

fn cell(texts: &mut Texts, row: &Row) -> Cell {
    let mut number = |text: &str| texts.number(text);
    Cell {
        check: [number(&row.scenario), number(&row.stage), number(&row.check)],
        client: number(&row.client),
        to: number(&row.to),
        request: number(&row.request),
        got: number(&row.got),
        verdict: number(&row.verdict),
        why: number(beginning(&row.reason)),
    }
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(REASON).map_or(text, |(end, _)| &text[..end])
}

fn in_words(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => format!("it is cut off: it ends in line {} before the report does", error.line()),
        Category::Syntax => format!("it is no JSON: {error}"),
        Category::Data => format!("it is no report.json that can be read here: {error}"),
        Category::Io => error.to_string(),
    }
}
