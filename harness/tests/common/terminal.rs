//! A terminal of so many columns, and svidproof at it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::process::{Child, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Exit, World};

/// More than any test's output has: what scrolls away is not looked at.
const ROWS: u16 = 200;

/// With what a step's line begins: how it ended, or that it is under way.
const MARKS: &str = "✓✗⠁⠂⠄⡀⢀⠠⠐⠈";

/// Which of its streams are at the terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    Both,
    /// Standard output; standard error goes nowhere.
    Output,
}

pub(crate) struct Terminal {
    output: File,
    child: Child,
    screen: vt100::Parser,
    /// All that was written to it.
    raw: Vec<u8>,
}

/// What a terminal has shown once svidproof has ended.
pub(crate) struct Shown {
    /// The screen's rows.
    pub(crate) rows: Vec<String>,
    /// Those that go on in the next row.
    wrapped: Vec<usize>,
    /// All that was written, as it was.
    pub(crate) written: String,
}

impl Terminal {
    pub(crate) fn start(
        world: &World,
        columns: u16,
        streams: Streams,
        env: &[(&str, &str)],
        args: &[&str],
    ) -> Self {
        // Another test's svidproof must not hold an end of it.
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = open(ptsname(&terminal, vec![]).unwrap(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&end, Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
        command.args(args).env("TERM", "xterm-256color").envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(end.try_clone().unwrap());
        command.stderr(if streams == Streams::Both { end.into() } else { Stdio::null() });
        let child = command.spawn().unwrap();
        let screen = vt100::Parser::new(NonZero::new(ROWS).unwrap(), NonZero::new(columns).unwrap(), 0);
        Self { output: terminal.into(), child, screen, raw: vec![] }
    }

    /// Shows what comes next; false where nothing more does.
    fn shows_more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = match self.output.read(&mut bytes) {
            Ok(read) => read,
            // The other end is closed.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) => panic!("{error}"),
        };
        self.raw.extend(&bytes[..read]);
        self.screen.process(&bytes[..read]);
        read > 0
    }

    /// Returns once the screen shows these words.
    #[track_caller]
    pub(crate) fn shows(&mut self, words: &str) -> Shown {
        loop {
            let shown = self.shown();
            if shown.text().contains(words) {
                return shown;
            }
            assert!(self.shows_more(), "it never showed `{words}`:\n{}", shown.text());
        }
    }

    #[track_caller]
    pub(crate) fn ends(mut self, exit: Exit) -> Shown {
        while self.shows_more() {}
        let shown = self.shown();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(i32::from(exit.code())), "{}", shown.text());
        shown
    }

    fn shown(&self) -> Shown {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        Shown {
            rows: screen.rows(0, columns.get()).collect(),
            wrapped: (0..ROWS).filter(|row| screen.row_wrapped(*row)).map(usize::from).collect(),
            written: String::from_utf8_lossy(&self.raw).into_owned(),
        }
    }
}

/// Where a test gives up while svidproof works, that does not go on.
impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }
}

impl Shown {
    pub(crate) fn text(&self) -> String {
        self.rows.join("\n").trim_end().to_owned()
    }

    /// What did not fit into its line, and stands in the next row, where a step's line may begin: those are
    /// filled up to the terminal's width. `from`: of the rows from the one that begins so.
    pub(crate) fn spilled(&self, from: &str) -> Vec<&str> {
        let first = self.rows.iter().position(|row| row.starts_with(from)).expect("there is such a row");
        let after = self.wrapped.iter().filter(|row| **row >= first).map(|row| self.rows[row + 1].as_str());
        after.filter(|row| !row.trim_start().starts_with(|one| MARKS.contains(one))).collect()
    }
}
