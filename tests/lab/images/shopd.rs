//! The shop: one small static program that plays every part of the example application.
//!
//!   shopd gateway   HTTP on $PORT (80); hands each request to one of $UPSTREAMS ("api:8080,…")
//!   shopd api       HTTP on $PORT (8080): `/`, `/health`, `/visit`, `/slow?ms=N`
//!   shopd worker    adds one to the key `jobs` of the database every second
//!   shopd db        a key-value store on $PORT (5432), one line per request, kept in /data
//!   shopd health    asks the part that runs in this container whether it is well (exit 0 or 1)
//!   shopd migrate   says which version it comes from, after $2 milliseconds, and exits $3 (0)
//!   shopd crash     says why and exits 1
//!
//! Without an argument the part is $SHOPD_ROLE. The version is the content of /version. The api and
//! the worker reach the database at $DB_HOST:$DB_PORT and log in with $DB_PASSWORD. For tests:
//! SHOPD_UNHEALTHY=1 or the version `bad` never becomes healthy, SHOPD_START_DELAY=MS becomes
//! healthy late, SHOPD_EXIT_AFTER=MS exits 1 after a while. Nothing here prints a variable's value.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

const ALIVE: &str = "/tmp/alive";
const DRAIN: Duration = Duration::from_secs(9);
const SECOND: Duration = Duration::from_secs(1);

fn main() {
    let role = env::args().nth(1).or_else(|| env::var("SHOPD_ROLE").ok()).unwrap_or_default();
    if role == "health" {
        process::exit(i32::from(health().is_err()));
    }
    if role == "migrate" {
        let number = |at| env::args().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0);
        thread::sleep(Duration::from_millis(number(2)));
        println!("migrates to {}", version());
        process::exit(number(3) as i32);
    }
    let server = Server::new();
    server.stop_on_signals();
    exit_after();
    println!("{role} {} starts", version());
    let done = match role.as_str() {
        "gateway" => gateway(&server),
        "api" => api(&server),
        "worker" => worker(&server),
        "db" => db(&server),
        "crash" => Err(io::Error::other("cannot start: this version always crashes")),
        other => Err(io::Error::other(format!("unknown part {other:?}"))),
    };
    match done {
        Ok(()) => println!("{role} stopped"),
        Err(error) => {
            println!("{role}: {error}");
            process::exit(1);
        }
    }
}

fn var(name: &str, default: &str) -> String {
    env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.into())
}

fn millis(name: &str) -> Option<Duration> {
    env::var(name).ok()?.parse().ok().map(Duration::from_millis)
}

fn version() -> String {
    fs::read_to_string("/version").map_or("unknown".into(), |v| v.trim().into())
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or("unknown".into(), |v| v.trim().into())
}

fn role_port() -> String {
    let role = env::var("SHOPD_ROLE").unwrap_or_default();
    let default = match role.as_str() {
        "gateway" => "80",
        "db" => "5432",
        _ => "8080",
    };
    var("PORT", default)
}

fn exit_after() {
    if let Some(time) = millis("SHOPD_EXIT_AFTER") {
        thread::spawn(move || {
            thread::sleep(time);
            println!("exits as SHOPD_EXIT_AFTER asks");
            process::exit(1);
        });
    }
}

// ---- stopping ---------------------------------------------------------------------------------

type SigSet = [u64; 16];

unsafe extern "C" {
    fn sigemptyset(set: *mut SigSet) -> i32;
    fn sigaddset(set: *mut SigSet, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const SigSet, old: *mut SigSet) -> i32;
    fn sigwait(set: *const SigSet, signal: *mut i32) -> i32;
}

/// What the connections of one part share: whether it stops, how many connections are open, and
/// which of them wait for a request.
struct Server {
    stopping: AtomicBool,
    open: Mutex<usize>,
    free: Condvar,
    idle: Mutex<HashMap<usize, TcpStream>>,
    next: AtomicUsize,
    address: Mutex<Option<SocketAddr>>,
}

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stopping: AtomicBool::new(false),
            open: Mutex::new(0),
            free: Condvar::new(),
            idle: Mutex::new(HashMap::new()),
            next: AtomicUsize::new(0),
            address: Mutex::new(None),
        })
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Blocks SIGTERM and SIGINT in every thread and waits for them in one of its own: as the first
    /// process of a container the defaults would ignore them.
    fn stop_on_signals(self: &Arc<Self>) {
        const SIG_BLOCK: i32 = 0;
        let mut set: SigSet = [0; 16];
        // SAFETY: `set` is as large as glibc's sigset_t and outlives the calls.
        unsafe {
            sigemptyset(&mut set);
            sigaddset(&mut set, 15);
            sigaddset(&mut set, 2);
            pthread_sigmask(SIG_BLOCK, &set, std::ptr::null_mut());
        }
        let server = Arc::clone(self);
        thread::spawn(move || {
            let mut signal = 0;
            // SAFETY: as above; `signal` is a valid place for the answer.
            unsafe { sigwait(&set, &mut signal) };
            println!("stops on signal {signal}");
            server.stop();
        });
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        match *self.address.lock().unwrap() {
            // A connection of our own wakes the thread that waits in accept().
            Some(address) => drop(TcpStream::connect_timeout(&address, SECOND)),
            None => process::exit(0),
        }
    }

    /// Serves connections until told to stop; then takes those that the kernel has accepted
    /// already, closes the listener, and lets every request that has begun finish.
    fn serve<F>(self: &Arc<Self>, handle: F) -> io::Result<()>
    where
        F: Fn(&Server, usize, TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(format!("0.0.0.0:{}", role_port()))?;
        let port = listener.local_addr()?.port();
        *self.address.lock().unwrap() = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        println!("listens on port {port}");
        let handle = Arc::new(handle);
        loop {
            if self.stopping() {
                listener.set_nonblocking(true)?;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_nodelay(true)?;
                    let (server, handle) = (Arc::clone(self), Arc::clone(&handle));
                    let id = self.next.fetch_add(1, Ordering::SeqCst);
                    // Counted from here on, so that stopping waits for its first request.
                    self.begin();
                    thread::spawn(move || {
                        let _ = handle(&server, id, stream);
                        server.idle.lock().unwrap().remove(&id);
                        server.end();
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if self.stopping() => return Err(e),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
        drop(listener);
        for stream in self.idle.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        let deadline = Instant::now() + DRAIN;
        let mut open = self.open.lock().unwrap();
        while *open > 0 && Instant::now() < deadline {
            open = self.free.wait_timeout(open, deadline - Instant::now()).unwrap().0;
        }
        Ok(())
    }

    fn begin(&self) {
        *self.open.lock().unwrap() += 1;
    }

    fn end(&self) {
        *self.open.lock().unwrap() -= 1;
        self.free.notify_all();
    }

    /// Reads the first line of the next request. A connection that waits for one is closed when
    /// the server stops; one that has sent something is answered first.
    fn next_line(
        &self,
        id: usize,
        stream: &TcpStream,
        reader: &mut BufReader<TcpStream>,
    ) -> io::Result<Option<String>> {
        if reader.buffer().is_empty() {
            self.idle.lock().unwrap().insert(id, stream.try_clone()?);
            if self.stopping() {
                // A request may have come since; what has not come within a moment won't.
                stream.set_read_timeout(Some(Duration::from_millis(100)))?;
            }
        }
        let mut line = String::new();
        let read = reader.read_line(&mut line)?;
        self.idle.lock().unwrap().remove(&id);
        Ok((read > 0).then_some(line))
    }
}

// ---- HTTP -------------------------------------------------------------------------------------

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    keep_alive: bool,
}

impl Request {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    fn query(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().into())),
            None => return Ok(headers),
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

fn read_body(reader: &mut impl Read, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let length = header(headers, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

/// Answers the requests of one connection until it closes or the server stops.
fn http<F>(server: &Server, id: usize, stream: TcpStream, answer: F) -> io::Result<()>
where
    F: Fn(&Request) -> (u16, Vec<u8>),
{
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    while let Some(line) = server.next_line(id, &stream, &mut reader)? {
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        let headers = read_headers(&mut reader)?;
        let keep_alive = match header(&headers, "connection").map(str::to_lowercase) {
            Some(value) => value != "close",
            None => line.contains("HTTP/1.1"),
        };
        let body = read_body(&mut reader, &headers)?;
        let request =
            Request { method: method.into(), target: target.into(), headers, body, keep_alive };
        let (status, body) = answer(&request);
        let keep_alive = request.keep_alive && !server.stopping();
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let mut response = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: {connection}\r\n\r\n",
            reason(status),
            body.len()
        )
        .into_bytes();
        response.extend_from_slice(&body);
        writer.write_all(&response)?;
        if !keep_alive {
            break;
        }
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    }
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

// ---- the gateway ------------------------------------------------------------------------------

fn gateway(server: &Arc<Server>) -> io::Result<()> {
    let upstreams: Vec<String> =
        var("UPSTREAMS", "api:8080").split(',').map(|u| u.trim().to_owned()).collect();
    let turn = AtomicUsize::new(0);
    server.serve(move |server, id, stream| {
        http(server, id, stream, |request| {
            if request.path() == "/gateway/health" {
                return (200, b"{\"status\":\"ok\"}\n".to_vec());
            }
            let turn = turn.fetch_add(1, Ordering::SeqCst);
            forward(&upstreams, turn, request).unwrap_or_else(|error| {
                let text = format!("{{\"error\":{}}}\n", quoted(&error.to_string()));
                (502, text.into_bytes())
            })
        })
    })
}

/// Sends a request to one of the upstreams' addresses, in turn, and to the next when one can't be
/// connected to. Names are looked up for every request, since replicas come and go.
fn forward(upstreams: &[String], turn: usize, request: &Request) -> io::Result<(u16, Vec<u8>)> {
    let mut addresses = Vec::new();
    for upstream in upstreams {
        addresses.extend(upstream.to_socket_addrs().into_iter().flatten());
    }
    addresses.sort();
    addresses.dedup();
    let mut error = io::Error::other("no upstream has an address");
    for i in 0..addresses.len() {
        let address = addresses[(turn + i) % addresses.len()];
        match TcpStream::connect_timeout(&address, SECOND) {
            Ok(stream) => return exchange(stream, request),
            Err(e) => error = io::Error::new(e.kind(), format!("{address}: {e}")),
        }
    }
    Err(error)
}

fn exchange(mut stream: TcpStream, request: &Request) -> io::Result<(u16, Vec<u8>)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        if name != "connection" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("connection: close\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    stream.write_all(&bytes)?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    let code = status.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other("the upstream closed without an answer"))?;
    let headers = read_headers(&mut reader)?;
    Ok((code, read_body(&mut reader, &headers)?))
}

// ---- the api ----------------------------------------------------------------------------------

/// What the api knows of the database, refreshed in the background so that no request waits.
#[derive(Default)]
struct Database {
    reached: bool,
    state: String,
    jobs: Option<String>,
}

fn api(server: &Arc<Server>) -> io::Result<()> {
    let started = Instant::now();
    let delay = millis("SHOPD_START_DELAY").unwrap_or_default();
    let never = var("SHOPD_UNHEALTHY", "") == "1" || version() == "bad";
    let database = Arc::new(Mutex::new(Database { state: "unknown".into(), ..Default::default() }));
    if env::var("DB_HOST").is_ok() {
        let database = Arc::clone(&database);
        thread::spawn(move || watch_database(&database));
    } else {
        *database.lock().unwrap() =
            Database { reached: true, state: "none".into(), ..Default::default() };
    }
    let mut keys: Vec<String> = env::vars_os().map(|(k, _)| k.to_string_lossy().into()).collect();
    keys.sort();
    let keys = keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(",");

    server.serve(move |server, id, stream| {
        http(server, id, stream, |request| match request.path() {
            "/" => {
                let database = database.lock().unwrap();
                let text = format!(
                    "{{\"service\":\"api\",\"version\":{},\"hostname\":{},\"db\":{},\"jobs\":{},\
                     \"env\":[{keys}]}}\n",
                    quoted(&version()),
                    quoted(&hostname()),
                    quoted(&database.state),
                    database.jobs.as_deref().map_or("null".into(), quoted),
                );
                (200, text.into_bytes())
            }
            "/health" => {
                let reached = database.lock().unwrap().reached;
                let problem = if never {
                    "this version never becomes healthy"
                } else if started.elapsed() < delay {
                    "still starting"
                } else if !reached {
                    "the database has not been reached yet"
                } else {
                    return (200, b"{\"status\":\"ok\"}\n".to_vec());
                };
                (503, format!("{{\"status\":{}}}\n", quoted(problem)).into_bytes())
            }
            "/visit" => match Db::connect().and_then(|mut db| db.ask("INCR visits")) {
                Ok(visits) => (200, format!("{{\"visits\":{}}}\n", quoted(&visits)).into_bytes()),
                Err(error) => {
                    (503, format!("{{\"error\":{}}}\n", quoted(&error.to_string())).into_bytes())
                }
            },
            "/slow" => {
                let time = request.query("ms").and_then(|ms| ms.parse().ok()).unwrap_or(1000);
                thread::sleep(Duration::from_millis(time));
                (200, format!("{{\"slept_ms\":{time}}}\n").into_bytes())
            }
            _ => (404, b"{\"error\":\"no such page\"}\n".to_vec()),
        })
    })
}

fn watch_database(database: &Mutex<Database>) {
    let mut connection = None;
    loop {
        let result = match connection.take() {
            Some(db) => Ok(db),
            None => Db::connect().and_then(|mut db| {
                db.ask(&format!("SET api/{} {}", hostname(), version()))?;
                Ok(db)
            }),
        }
        .and_then(|mut db: Db| db.ask("GET jobs").map(|jobs| (db, jobs)));
        let mut shared = database.lock().unwrap();
        let state = match result {
            Ok((db, jobs)) => {
                connection = Some(db);
                shared.reached = true;
                shared.jobs = Some(jobs);
                "ok".to_owned()
            }
            Err(error) => format!("down: {error}"),
        };
        if state != shared.state {
            println!("database {state}");
        }
        shared.state = state;
        drop(shared);
        thread::sleep(Duration::from_millis(if connection.is_some() { 500 } else { 100 }));
    }
}

// ---- the worker -------------------------------------------------------------------------------

fn worker(server: &Arc<Server>) -> io::Result<()> {
    let mut last = String::new();
    while !server.stopping() {
        let result = Db::connect().and_then(|mut db| db.ask("INCR jobs"));
        let state = match &result {
            Ok(_) => "works".to_owned(),
            Err(error) => format!("waits: {error}"),
        };
        if result.is_ok() {
            File::create(ALIVE)?;
        }
        if state != last {
            println!("{state}");
        }
        last = state;
        thread::sleep(SECOND);
    }
    Ok(())
}

// ---- the database -----------------------------------------------------------------------------

/// A connection to the database: one line asked, one line answered ("OK …" or "ERR …").
struct Db {
    reader: BufReader<TcpStream>,
}

impl Db {
    fn connect() -> io::Result<Self> {
        Self::open(&format!("{}:{}", var("DB_HOST", "127.0.0.1"), var("DB_PORT", "5432")))
    }

    fn open(target: &str) -> io::Result<Self> {
        let mut error = io::Error::other(format!("{target} has no address"));
        for address in target.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, SECOND) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(2 * SECOND))?;
                    stream.set_nodelay(true)?;
                    let mut db = Self { reader: BufReader::new(stream) };
                    if let Ok(password) = env::var("DB_PASSWORD") {
                        db.ask(&format!("AUTH {password}"))?;
                    }
                    return Ok(db);
                }
                Err(e) => error = e,
            }
        }
        Err(error)
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.reader.read_line(&mut answer)?;
        match answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), "")) {
            ("OK", value) => Ok(value.into()),
            ("ERR", why) => Err(io::Error::other(why.to_owned())),
            _ => Err(io::Error::other("the database closed the connection")),
        }
    }
}

struct Store {
    values: BTreeMap<String, String>,
    log: File,
}

impl Store {
    fn open(path: &str) -> io::Result<Self> {
        let mut values = BTreeMap::new();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            if let Some((key, value)) = line.split_once(' ') {
                values.insert(key.into(), value.into());
            }
        }
        Ok(Self { values, log: OpenOptions::new().create(true).append(true).open(path)? })
    }

    fn set(&mut self, key: &str, value: &str) -> io::Result<()> {
        self.log.write_all(format!("{key} {value}\n").as_bytes())?;
        self.log.sync_data()?;
        self.values.insert(key.into(), value.into());
        Ok(())
    }
}

fn db(server: &Arc<Server>) -> io::Result<()> {
    let password = env::var("DB_PASSWORD").ok();
    let store = Arc::new(Mutex::new(Store::open("/data/shop.log")?));
    println!("{} keys in /data", store.lock().unwrap().values.len());
    server.serve(move |server, id, stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream.try_clone()?;
        let mut known = password.is_none();
        while let Some(line) = server.next_line(id, &stream, &mut reader)? {
            let mut words = line.trim_end().splitn(3, ' ');
            let word = (words.next().unwrap_or(""), words.next(), words.next());
            let answer = match word {
                ("PING", ..) => "OK".to_owned(),
                ("AUTH", given, _) => {
                    known |= given == password.as_deref();
                    if known { "OK".into() } else { "ERR wrong password".into() }
                }
                _ if !known => "ERR log in first".into(),
                ("GET", Some(key), _) => {
                    let store = store.lock().unwrap();
                    format!("OK {}", store.values.get(key).map_or("", String::as_str))
                }
                ("SET", Some(key), Some(value)) => {
                    store.lock().unwrap().set(key, value)?;
                    "OK".into()
                }
                ("INCR", Some(key), _) => {
                    let mut store = store.lock().unwrap();
                    let old: u64 = store.values.get(key).and_then(|v| v.parse().ok()).unwrap_or(0);
                    store.set(key, &(old + 1).to_string())?;
                    format!("OK {}", old + 1)
                }
                _ => "ERR unknown request".into(),
            };
            writer.write_all(format!("{}\n", answer.trim_end()).as_bytes())?;
        }
        Ok(())
    })
}

// ---- health -----------------------------------------------------------------------------------

fn health() -> io::Result<()> {
    match env::var("SHOPD_ROLE").unwrap_or_default().as_str() {
        "db" => {
            let mut stream = TcpStream::connect(format!("127.0.0.1:{}", role_port()))?;
            stream.set_read_timeout(Some(SECOND))?;
            stream.write_all(b"PING\n")?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer)
        }
        "worker" => {
            let age = fs::metadata(ALIVE)?.modified()?.elapsed().unwrap_or_default();
            if age < Duration::from_secs(10) {
                return Ok(());
            }
            println!("no job done for {} s", age.as_secs());
            Err(io::Error::other("stale"))
        }
        role => {
            let path = if role == "gateway" { "/gateway/health" } else { "/health" };
            let stream = TcpStream::connect(format!("127.0.0.1:{}", role_port()))?;
            let request = Request {
                method: "GET".into(),
                target: path.into(),
                headers: Vec::new(),
                body: Vec::new(),
                keep_alive: false,
            };
            let (status, body) = exchange(stream, &request)?;
            print!("{}", String::from_utf8_lossy(&body));
            if status == 200 { Ok(()) } else { Err(io::Error::other("unwell")) }
        }
    }
}
