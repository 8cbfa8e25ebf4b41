//! A svidproof under way, and fakes that stop at a place until the test says: for what happens in between.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Exit, TERRAFORM, World};

impl World {
    /// A world in which a run gets as far as `terraform apply`, and stops there.
    pub(crate) fn stopped_at_apply() -> (Self, Block) {
        let world = Self::with_images();
        let apply = Block::new(&world, "apply");
        world.fake("terraform", &format!("{TERRAFORM}\n[ \"$1\" = apply ] || exit 0\n{}", apply.script()));
        (world, apply)
    }

    /// A world in which a run gets as far as `kind create`, by the machine's own terraform, and stops there.
    pub(crate) fn stopped_at_create() -> (Self, Block) {
        let world = Self::with_images();
        world.real_terraform();
        let create = Block::new(&world, "create");
        world.fake("kind", &format!("[ \"$1\" = create ] || exit 0\n{}", create.script()));
        (world, create)
    }

    /// svidproof under way, with fakes that block.
    pub(crate) fn start(&self, args: &[&str], blocks: &[&Block]) -> Running {
        let mut child = self.spawn(args);
        let mut stderr = child.stderr.take().unwrap();
        let blocks: Vec<_> =
            blocks.iter().map(|block| (block.alive.clone(), Arc::clone(&block.reached))).collect();
        let said = std::thread::spawn(move || {
            let mut said = vec![];
            stderr.read_to_end(&mut said).unwrap();
            // svidproof has ended. A test that still waits for a fake is told, for it would wait for ever.
            for (pipe, _) in blocks.iter().filter(|(_, reached)| !reached.load(Ordering::SeqCst)) {
                let mut pipe = File::options().read(true).write(true).open(pipe).unwrap();
                writeln!(pipe, "never: svidproof ended; it said\n{}", String::from_utf8_lossy(&said))
                    .unwrap();
                std::mem::forget(pipe);
            }
            said
        });
        Running { child, said }
    }
}

/// A svidproof under way.
pub(crate) struct Running {
    child: Child,
    said: JoinHandle<Vec<u8>>,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, which `kill` makes one without a status; returns what it said.
    #[track_caller]
    pub(crate) fn ends(self, exit: Option<Exit>) -> String {
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&self.said.join().unwrap()).into_owned();
        assert_eq!(output.status.code(), exit.map(|exit| i32::from(exit.code())), "{said}");
        said
    }
}

/// A place in a fake's script where it stops until the test says, or until it is ended.
pub(crate) struct Block {
    alive: PathBuf,
    hold: PathBuf,
    reached: Arc<AtomicBool>,
}

impl Block {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        Self {
            alive: world.fifo(&format!("{name}-alive")),
            hold: world.fifo(&format!("{name}-hold")),
            reached: Arc::default(),
        }
    }

    /// The fake holds the one pipe open as long as it or its child lives; its child reads from the other.
    pub(crate) fn script(&self) -> String {
        format!(
            "exec 3> '{}'\necho up >&3\nsh -c \"read go < '{}'\"",
            self.alive.display(),
            self.hold.display()
        )
    }

    /// For another svidproof.
    pub(crate) fn again(&self) {
        self.reached.store(false, Ordering::SeqCst);
    }

    /// Returns once the fake is there.
    pub(crate) fn reached(&self) -> Reached {
        let mut pipe = BufReader::new(File::open(&self.alive).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        if line != "up\n" {
            pipe.read_line(&mut line).unwrap();
            panic!("the fake was {line}");
        }
        self.reached.store(true, Ordering::SeqCst);
        Reached { pipe, hold: self.hold.clone() }
    }
}

pub(crate) struct Reached {
    pipe: BufReader<File>,
    hold: PathBuf,
}

impl Reached {
    /// Lets the fake go on.
    pub(crate) fn release(&self) {
        File::options().write(true).open(&self.hold).unwrap().write_all(b"on\n").unwrap();
    }

    /// Returns once the fake and its child are gone.
    pub(crate) fn gone(mut self) {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(self.pipe.read_to_end(&mut vec![]).unwrap()));
        let rest = receiver.recv_timeout(Duration::from_secs(30)).expect("the fake and its child end");
        assert_eq!(rest, 0);
    }
}
