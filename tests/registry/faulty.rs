//! A registry that does wrong, on purpose: a proxy in front of a real one, which passes everything on but what
//! it was told to spoil.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is done to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is this one, whatever the registry says.
    Status(u16),
    /// It never comes.
    Silent,
    /// It breaks off half-way.
    CutOff,
    /// A byte of it is another.
    Changed,
}

/// The fault, and the method and the part of a path that it is for.
type Told = Option<(Fault, &'static str, &'static str)>;

pub(crate) struct Faulty {
    pub(crate) port: u16,
    told: Arc<Mutex<Told>>,
}

impl Faulty {
    /// In front of the registry at this port.
    pub(crate) fn before(registry: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let faulty = Self { port: listener.local_addr().unwrap().port(), told: Arc::default() };
        let told = Arc::clone(&faulty.told);
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let told = Arc::clone(&told);
                // Either end may have gone meanwhile.
                std::thread::spawn(move || pass(stream, registry, &told));
            }
        });
        faulty
    }

    /// From now on, requests of this method (of any, where it is empty) whose path holds `part` go wrong;
    /// nothing else does.
    pub(crate) fn does(&self, fault: Fault, method: &'static str, part: &'static str) {
        *self.told.lock().unwrap() = Some((fault, method, part));
    }
}

/// One request and its answer.
fn pass(mut client: TcpStream, registry: u16, told: &Mutex<Told>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = vec![];
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        if !line.to_lowercase().starts_with("connection:") {
            head.push(std::mem::take(&mut line));
        }
        line.clear();
    }
    let Some(request) = head.first() else { return Ok(()) };
    let is_meant =
        |(_, method, part): &(Fault, &str, &str)| request.starts_with(method) && request.contains(part);
    let fault = told.lock().unwrap().filter(is_meant).map(|(fault, ..)| fault);
    if let Some(Fault::Status(status)) = fault {
        let code = if status == 404 { "MANIFEST_UNKNOWN" } else { "UNAUTHORIZED" };
        let body = format!(r#"{{"errors": [{{"code": "{code}", "message": "it is a faulty registry"}}]}}"#);
        let body = if request.starts_with("HEAD ") { String::new() } else { body };
        let length = body.len();
        return write!(
            client,
            "HTTP/1.1 {status} Faulty\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
    }
    if fault == Some(Fault::Silent) {
        // Until the client has had enough.
        return reader.read_to_end(&mut vec![]).map(drop);
    }
    let mut real = TcpStream::connect(("127.0.0.1", registry))?;
    write!(real, "{}connection: close\r\n\r\n", head.concat())?;
    let mut answer = vec![];
    real.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let length = answer.len() - body;
    match fault {
        Some(Fault::CutOff) => answer.truncate(body + length / 2),
        Some(Fault::Changed) if length > 0 => answer[body + length / 2] ^= 1,
        _ => {}
    }
    client.write_all(&answer)
}
