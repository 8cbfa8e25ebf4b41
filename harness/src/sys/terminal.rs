//! Who reads, at a terminal or elsewhere, and text that fits there. What fits is told in columns of a
//! terminal: a wide character takes two, a combining one and a colour none. Not for making foreign text
//! harmless: that is `printable`'s.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use rustix::termios::tcgetwinsize;
use textwrap::{Options, WordSplitter};

/// Into fewer columns nothing is fitted: such a terminal wraps the lines itself.
const NARROWEST: usize = 40;

/// For whom a text is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reader {
    /// In colour.
    pub colour: bool,
    /// Columns of a line. Absent where it is no terminal: there no line is too long.
    pub columns: Option<usize>,
}

impl Reader {
    /// Who reads this stream now: a terminal's width may change. In colour where it is one, and no `NO_COLOR`
    /// says something (no-color.org).
    pub fn of(stream: &(impl IsTerminal + AsFd)) -> Self {
        if !stream.is_terminal() {
            return Self::default();
        }
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // One that does not know its width says 0.
        let columns = tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|wide| *wide > 0);
        Self { colour, columns: columns.map(|columns| columns.max(NARROWEST)) }
    }

    /// The text between this escape sequence and the end of all colours.
    pub fn painted(self, style: &str, text: &str) -> String {
        if self.colour { format!("{style}{text}\x1b[0m") } else { text.into() }
    }

    /// Whether a line fits.
    pub fn has_room_for(self, line: &str) -> bool {
        self.columns.is_none_or(|columns| width(line) <= columns)
    }

    /// Each line of the text after `first`, and what of it does not fit in lines of their own after `rest`,
    /// broken where a word ends, and within one that is as long as a line. Nothing is left out.
    pub fn wrapped(self, text: &str, first: &str, rest: &str) -> String {
        let line = |line: &str| match self.columns {
            None => format!("{first}{line}").trim_end().to_owned() + "\n",
            Some(columns) => {
                // It takes a terminal to the next of its own stops, wherever that is.
                let line = line.replace('\t', "    ");
                let fit = Options::new(columns).initial_indent(first).subsequent_indent(rest);
                let all = textwrap::wrap(&line, fit.word_splitter(WordSplitter::NoHyphenation));
                all.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
            }
        };
        text.lines().map(line).collect()
    }

    /// Words of svidproof's own: broken where a word ends, and not within one, since that is a path or a
    /// command that somebody copies.
    pub fn flowed(self, text: &str) -> String {
        let Some(columns) = self.columns else { return text.into() };
        let fit = || Options::new(columns).break_words(false).word_splitter(WordSplitter::NoHyphenation);
        let lines = text.split('\n').map(|line| textwrap::fill(line, fit()));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The columns that a line takes.
pub fn width(line: &str) -> usize {
    measure_text_width(line)
}

/// A line of so many columns at most; `…` stands for what is left out.
pub fn cut(line: &str, columns: usize) -> String {
    truncate_str(line, columns, "…").into_owned()
}

/// A line of so many columns at least.
pub fn padded(line: &str, columns: usize) -> String {
    pad_str(line, columns, Alignment::Left, None).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const NOBODY: Reader = Reader { colour: false, columns: None };

    fn at(columns: usize) -> Reader {
        Reader { colour: false, columns: Some(columns) }
    }

    #[rstest]
    #[case::short("one", "- one\n")]
    #[case::at_words("one two three four five", "- one two three four\n  five\n")]
    #[case::each_line("one\n\ntwo", "- one\n-\n- two\n")]
    #[case::in_a_word("0123456789abcdefghijklm", "- 0123456789abcdefgh\n  ijklm\n")]
    #[case::wide("一二三四五六七八九十", "- 一二三四五六七八九\n  十\n")]
    #[case::a_name_is_no_two_words("a certificate-required", "- a\n  certificate-requir\n  ed\n")]
    #[case::tabulator("a\tb", "- a    b\n")]
    fn what_does_not_fit_goes_on_in_the_next_line(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(at(20).wrapped(text, "- ", "  "), expected);
    }

    #[test]
    fn elsewhere_nothing_is_too_long() {
        let long = "word ".repeat(100);
        assert_eq!(NOBODY.wrapped(&long, "- ", "  "), format!("- {}\n", long.trim_end()));
        assert_eq!(NOBODY.flowed(&long), long);
        assert!(NOBODY.has_room_for(&long) && !at(80).has_room_for(&long));
    }

    #[test]
    fn a_path_stays_one_that_can_be_copied() {
        let path = "/a/path/that/is/longer/than/a/line";
        assert_eq!(
            at(20).flowed(&format!("one two three four five {path}\nhint: look")),
            format!("one two three four\nfive\n{path}\nhint: look")
        );
    }

    #[test]
    fn colours_take_no_room() {
        let red = Reader { colour: true, columns: Some(20) }.painted("\x1b[31m", "red");
        assert_eq!((width(&red), width("一é"), padded(&red, 5).len()), (3, 3, red.len() + 2));
        assert_eq!(at(10).wrapped(&format!("{red} and blue"), "", ""), format!("{red} and\nblue\n"));
        assert_eq!(NOBODY.painted("\x1b[31m", "red"), "red");
    }

    proptest! {
        #[test]
        fn it_fits_and_says_all(text in "([a-z一é.-]{1,30}[ \n]){0,20}", columns in NARROWEST..100) {
            let told = at(columns).wrapped(&text, "  ", "    ");
            prop_assert!(told.lines().all(|line| width(line) <= columns), "{told}");
            let all = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(all(&told), all(&text));
            for line in text.lines() {
                prop_assert!(width(&cut(line, columns)) <= columns);
            }
        }
    }
}
