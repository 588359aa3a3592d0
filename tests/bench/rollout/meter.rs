//! The load meter: a steady load through a proxy, and every request that failed.
//!
//!   rustc --edition 2024 -O -o meter meter.rs
//!   meter ADDRESS:PORT [--host NAME] [--path /] [--rate 200] [--seconds 60] [--timeout-ms 5000]
//!         [--workers 1500] [--until-eof]
//!
//! Requests are sent when they are due, whether or not earlier ones have been answered. Every other
//! one opens a connection of its own, the rest share some that are kept alive. Nothing is tried
//! again. A request has failed when it is not answered in time, or with a status of 500 or more, or
//! with 404, which is what a proxy says that has lost a route. It ends after --seconds, or with
//! --until-eof as soon as its standard input is closed, waits for what is under way, and prints
//! JSON. A load is for one's own machines: only loopback and the lab's addresses (10.99.0.x) are
//! taken.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

/// Failures that are listed one by one; all are counted.
const LISTED: usize = 2000;

#[derive(Clone)]
struct Options {
    target: SocketAddrV4,
    host: String,
    path: String,
    rate: f64,
    seconds: f64,
    timeout: Duration,
    workers: usize,
    until_eof: bool,
}

struct Failure {
    at: Duration,
    after: Duration,
    kind: &'static str,
    detail: String,
    kept: bool,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<u32>,
    statuses: BTreeMap<u16, u64>,
    versions: BTreeMap<String, u64>,
    failures: Vec<Failure>,
    late: u64,
    opened: u64,
}

fn main() {
    let options = read_options().unwrap_or_else(|error| {
        eprintln!("meter: {error}");
        process::exit(64);
    });
    let end = Arc::new(AtomicBool::new(false));
    if options.until_eof {
        let end = Arc::clone(&end);
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            end.store(true, Ordering::SeqCst);
        });
    }
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    let office = Arc::new(Office::default());
    let workers = schedule(&options, &office, start, &end);
    let all = Mutex::new(Seen::default());
    for worker in workers {
        let seen = worker.join().unwrap_or_default();
        let mut all = all.lock().unwrap();
        all.latencies.extend(seen.latencies);
        all.failures.extend(seen.failures);
        all.late += seen.late;
        all.opened += seen.opened;
        for (status, count) in seen.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
        for (version, count) in seen.versions {
            *all.versions.entry(version).or_default() += count;
        }
    }
    let seen = all.into_inner().unwrap();
    println!("{}", report(&options, start.elapsed(), epoch, seen));
}

fn read_options() -> Result<Options, String> {
    let mut arguments = env::args().skip(1);
    let target = arguments.next().ok_or("give the address of the proxy: 10.99.0.11:80")?;
    let target: SocketAddrV4 = target.parse().map_err(|e| format!("{target}: {e}"))?;
    let lab = target.ip().octets()[..3] == Ipv4Addr::new(10, 99, 0, 0).octets()[..3];
    if !lab && !target.ip().is_loopback() {
        return Err(format!("{target} is neither the lab's nor this machine"));
    }
    let mut options = Options {
        target,
        host: target.to_string(),
        path: "/".into(),
        rate: 200.0,
        seconds: 60.0,
        timeout: Duration::from_secs(5),
        workers: 1500,
        until_eof: false,
    };
    while let Some(name) = arguments.next() {
        if name == "--until-eof" {
            options.until_eof = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
        let number = || value.parse::<f64>().map_err(|e| format!("{name} {value}: {e}"));
        match name.as_str() {
            "--host" => options.host = value,
            "--path" => options.path = value,
            "--rate" => options.rate = number()?.clamp(1.0, 5000.0),
            "--seconds" => options.seconds = number()?.clamp(0.1, 3600.0),
            "--timeout-ms" => {
                options.timeout = Duration::from_secs_f64(number()?.max(1.0) / 1000.0)
            }
            "--workers" => options.workers = number()?.clamp(1.0, 5000.0) as usize,
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(options)
}

/// What the workers share: the requests that are due, and the connections that are kept.
#[derive(Default)]
struct Office {
    work: Mutex<Work>,
    come: Condvar,
    kept: Mutex<Vec<BufReader<TcpStream>>>,
}

#[derive(Default)]
struct Work {
    due: VecDeque<(u64, Instant)>,
    idle: usize,
    over: bool,
}

/// Hands requests out when they are due, to as many workers as it takes.
fn schedule(
    options: &Options,
    office: &Arc<Office>,
    start: Instant,
    end: &AtomicBool,
) -> Vec<JoinHandle<Seen>> {
    let mut workers = Vec::new();
    for number in 0.. {
        let due = Duration::from_secs_f64(number as f64 / options.rate);
        if due.as_secs_f64() >= options.seconds {
            break;
        }
        let due = start + due;
        while let Some(wait) = due.checked_duration_since(Instant::now()) {
            if end.load(Ordering::SeqCst) {
                break;
            }
            thread::sleep(wait.min(Duration::from_millis(50)));
        }
        if end.load(Ordering::SeqCst) {
            break;
        }
        let mut work = office.work.lock().unwrap();
        work.due.push_back((number, due));
        if work.idle < work.due.len() && workers.len() < options.workers {
            let (options, office) = (options.clone(), Arc::clone(office));
            let worker = thread::Builder::new().stack_size(256 * 1024);
            workers.extend(worker.spawn(move || labour(&options, &office, start)));
        }
        office.come.notify_one();
    }
    office.work.lock().unwrap().over = true;
    office.come.notify_all();
    workers
}

/// Sends one due request after the other.
fn labour(options: &Options, office: &Office, start: Instant) -> Seen {
    let mut seen = Seen::default();
    loop {
        let mut work = office.work.lock().unwrap();
        let (number, due) = loop {
            match work.due.pop_front() {
                Some(next) => break next,
                None if work.over => return seen,
                None => {
                    work.idle += 1;
                    work = office.come.wait(work).unwrap();
                    work.idle -= 1;
                }
            }
        };
        drop(work);
        let keep = number % 2 == 1;
        let begun = Instant::now();
        if begun.duration_since(due) > Duration::from_millis(500) {
            seen.late += 1;
        }
        let mut old = None;
        while keep && old.is_none() {
            let Some(connection) = office.kept.lock().unwrap().pop() else { break };
            old = Some(connection).filter(is_open);
        }
        let kept = old.is_some();
        match request(options, keep, old, begun + options.timeout, &mut seen) {
            Ok((status, version, connection)) => {
                *seen.statuses.entry(status).or_default() += 1;
                if let Some(version) = version {
                    *seen.versions.entry(version).or_default() += 1;
                }
                if status >= 500 || status == 404 {
                    seen.fail(start, begun, "status", status.to_string(), kept);
                } else {
                    seen.latencies.push(begun.elapsed().as_micros() as u32);
                }
                office.kept.lock().unwrap().extend(connection);
            }
            Err((kind, error)) => seen.fail(start, begun, kind, error.to_string(), kept),
        }
    }
}

impl Seen {
    fn fail(
        &mut self,
        start: Instant,
        begun: Instant,
        kind: &'static str,
        detail: String,
        kept: bool,
    ) {
        let (at, after) = (begun.duration_since(start), begun.elapsed());
        self.failures.push(Failure { at, after, kind, detail, kept });
    }
}

/// Whether the other side has not closed a connection while nothing was asked on it: a client may
/// notice that before it asks, and open another.
fn is_open(reader: &BufReader<TcpStream>) -> bool {
    let stream = reader.get_ref();
    let quiet = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    matches!(quiet(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

type Answer = (u16, Option<String>, Option<BufReader<TcpStream>>);

fn request(
    options: &Options,
    keep: bool,
    old: Option<BufReader<TcpStream>>,
    deadline: Instant,
    seen: &mut Seen,
) -> Result<Answer, (&'static str, io::Error)> {
    let mut reader = match old {
        Some(reader) => reader,
        None => {
            seen.opened += 1;
            let target = options.target.into();
            let stream = TcpStream::connect_timeout(&target, options.timeout)
                .map_err(|e| (if is_late(&e) { "timeout" } else { "connect" }, e))?;
            stream.set_nodelay(true).map_err(|e| ("connect", e))?;
            BufReader::new(stream)
        }
    };
    let failed = |e: io::Error| {
        let kind = match e.kind() {
            _ if is_late(&e) => "timeout",
            ErrorKind::UnexpectedEof => "closed",
            _ => "reset",
        };
        (kind, e)
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let text = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: {connection}\r\n\r\n",
        options.path, options.host
    );
    reader.get_mut().write_all(text.as_bytes()).map_err(failed)?;
    let (status, body, alive) = read_answer(&mut reader, deadline).map_err(failed)?;
    Ok((status, version(&body), (keep && alive).then_some(reader)))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn read_answer(
    reader: &mut BufReader<TcpStream>,
    deadline: Instant,
) -> io::Result<(u16, Vec<u8>, bool)> {
    let mut line = String::new();
    next_line(reader, deadline, &mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(ErrorKind::UnexpectedEof)?;
    let (mut length, mut alive) = (None, true);
    loop {
        line.clear();
        next_line(reader, deadline, &mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "connection" => alive = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = vec![0; length.unwrap_or(0)];
    bound(reader, deadline)?;
    match length {
        Some(_) => reader.read_exact(&mut body)?,
        // Without a length the answer ends with the connection.
        None => {
            alive = false;
            reader.read_to_end(&mut body)?;
        }
    }
    Ok((status, body, alive))
}

fn next_line(
    reader: &mut BufReader<TcpStream>,
    deadline: Instant,
    line: &mut String,
) -> io::Result<()> {
    bound(reader, deadline)?;
    match reader.read_line(line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn bound(reader: &BufReader<TcpStream>, deadline: Instant) -> io::Result<()> {
    let left = deadline.checked_duration_since(Instant::now()).ok_or(ErrorKind::TimedOut)?;
    reader.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1))))
}

/// Which version answered, where the service says so: `"version":"v2"`.
fn version(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let rest = text.split_once("\"version\":\"")?.1;
    Some(rest.split('"').next()?.to_owned())
}

// ---- the report ---------------------------------------------------------------------------------

fn report(options: &Options, took: Duration, epoch: Duration, mut seen: Seen) -> String {
    seen.latencies.sort_unstable();
    seen.failures.sort_by_key(|failure| failure.at);
    let ok = seen.latencies.len();
    let failed = seen.failures.len();
    let at = |share: f64| {
        let index = ((ok as f64 * share) as usize).min(ok.saturating_sub(1));
        seen.latencies.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
    };
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for failure in &seen.failures {
        let kind = match failure.kind {
            "status" => failure.detail.clone(),
            kind => kind.to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let list: Vec<String> = seen
        .failures
        .iter()
        .take(LISTED)
        .map(|f| {
            format!(
                "{{\"at_ms\":{},\"after_ms\":{},\"kind\":{},\"detail\":{},\"kept_alive\":{}}}",
                f.at.as_millis(),
                f.after.as_millis(),
                quoted(f.kind),
                quoted(&f.detail),
                f.kept
            )
        })
        .collect();
    let instant =
        |failure: Option<&Failure>| failure.map_or("null".into(), |f| f.at.as_millis().to_string());
    format!(
        "{{\"target\":{},\"rate\":{},\"started_epoch_ms\":{},\"seconds\":{:.1},\"sent\":{},\"ok\":{ok},\
         \"failed\":{failed},\"late\":{},\"connections\":{},\"kinds\":{},\"statuses\":{},\
         \"versions\":{},\"latency_ms\":{{\"p50\":{:.2},\"p95\":{:.2},\"p99\":{:.2},\"max\":{:.2}}},\
         \"first_failure_ms\":{},\"last_failure_ms\":{},\"failures\":[{}]}}",
        quoted(&options.target.to_string()),
        options.rate,
        epoch.as_millis(),
        took.as_secs_f64(),
        ok + failed,
        seen.late,
        seen.opened,
        counts(&kinds),
        counts(&seen.statuses),
        counts(&seen.versions),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        instant(seen.failures.first()),
        instant(seen.failures.last()),
        list.join(",")
    )
}

fn counts<K: ToString>(counts: &BTreeMap<K, u64>) -> String {
    let entry = |(name, count): (&K, &u64)| format!("{}:{count}", quoted(&name.to_string()));
    format!("{{{}}}", counts.iter().map(entry).collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}
