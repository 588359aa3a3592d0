//! A reverse proxy with the manners of Traefik v3, as far as rollouts can notice them. It stands in
//! for Traefik in the lab, where no Traefik can be had.
//!
//!   proxyd [--providers.file.directory=/etc/traefik/dynamic] [--providers.docker=true] …
//!
//! It takes Traefik's own flags, without regard to case, and says which ones it does not know:
//!
//!   --providers.file.directory=DIR            watched, looked at every 100 ms
//!   --providers.docker=true                   containers' labels, through the engine's socket
//!   --providers.docker.endpoint=unix://PATH   (/var/run/docker.sock)
//!   --providers.docker.network=NAME           --providers.docker.exposedByDefault=false
//!   --providers.providersThrottleDuration=2s
//!   --entryPoints.NAME.address=:PORT          (web on :80; `traefik` on :8080 is the API's)
//!   --api.insecure=true                       the API on the entry point `traefik` (on; =false is off)
//!
//! Without a provider it watches /etc/traefik/dynamic. What it has in common with Traefik: a changed
//! configuration is applied at once, but at most every 2 s; one broken file and nothing is applied;
//! an empty section breaks a file; a request keeps the configuration that it began with; servers take
//! turns; nothing is ever tried again; no router is 404, no server 503, a dead server 502; labels
//! count only while their container runs and is healthy. Rules have Host, Path, PathPrefix, Method,
//! Header, `&&`, `||`, `!` and parentheses; TCP routers have HostSNI(`*`). Of the middlewares
//! stripPrefix and addPrefix do something; others must exist, and do nothing. It knows no TLS, UDP,
//! weights, health checks of its own, HTTP/2 or upgrades, and connects to a server for every request.
//!
//! The API: `/ping`, `/api/rawdata`, `/api/http/routers[/NAME]`, `/api/http/services[/NAME]`, in
//! pages of 100 as Traefik has them, also as the service `api@internal`.

#[path = "proxyd_data.rs"]
mod data;
#[path = "proxyd_routes.rs"]
mod routes;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use data::{Data, map, quoted};
use routes::{Asked, Docker, Router, Routes, Service};

const POLL: Duration = Duration::from_millis(100);
const DRAIN: Duration = Duration::from_secs(9);
const DIAL: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(180);

fn main() {
    let options = Options::read(env::args().skip(1));
    let proxy = Arc::new(Proxy::default());
    proxy.stop_on_signals(options.entry_points.values().copied().collect());
    let throttle = options.throttle;
    match options.docker {
        Some(docker) => follow_docker(Arc::clone(&proxy), docker, throttle),
        None => {
            let (proxy, folder) = (Arc::clone(&proxy), options.folder);
            thread::spawn(move || follow_files(&proxy, &folder, throttle));
        }
    }
    let mut threads = Vec::new();
    for (name, port) in options.entry_points {
        if name == "traefik" && !options.api {
            continue;
        }
        let proxy = Arc::clone(&proxy);
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|error| {
            println!("entry point {name}: port {port}: {error}");
            process::exit(1);
        });
        println!("entry point {name} listens on port {port}");
        threads.push(thread::spawn(move || proxy.serve(&name, &listener)));
    }
    for thread in threads {
        let _ = thread.join();
    }
    let deadline = Instant::now() + DRAIN;
    while proxy.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    println!("stopped");
}

struct Options {
    folder: PathBuf,
    docker: Option<Docker>,
    throttle: Duration,
    entry_points: BTreeMap<String, u16>,
    api: bool,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut folder = PathBuf::from("/etc/traefik/dynamic");
        let mut docker = Docker {
            socket: "/var/run/docker.sock".into(),
            network: String::new(),
            exposed_by_default: true,
        };
        let mut by_docker = false;
        let mut throttle = Duration::from_secs(2);
        let mut entry_points: BTreeMap<String, u16> = BTreeMap::new();
        let mut api = true;
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((&argument, "true"));
            let name = name.trim_start_matches('-').to_lowercase();
            let on = value == "true";
            match name.as_str() {
                "providers.file.directory" => folder = value.into(),
                "providers.docker" => by_docker = on,
                "docker" => by_docker = on,
                "providers.docker.endpoint" => {
                    docker.socket = value.strip_prefix("unix://").unwrap_or(value).into();
                }
                "providers.docker.network" => docker.network = value.into(),
                "providers.docker.exposedbydefault" => docker.exposed_by_default = on,
                "providers.providersthrottleduration" => throttle = duration(value),
                "api.insecure" => api = on,
                _ => {
                    match name.strip_prefix("entrypoints.").and_then(|n| n.strip_suffix(".address"))
                    {
                        Some(point) => {
                            let port = value.rsplit(':').next().unwrap_or("").split('/').next();
                            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                                entry_points.insert(point.to_owned(), port);
                            }
                        }
                        None => println!("{argument} means nothing here"),
                    }
                }
            }
        }
        if !entry_points.keys().any(|name| name != "traefik") {
            entry_points.insert("web".into(), 80);
        }
        entry_points.entry("traefik".into()).or_insert(8080);
        Self { folder, docker: by_docker.then_some(docker), throttle, entry_points, api }
    }
}

fn duration(text: &str) -> Duration {
    let number = |text: &str| text.parse::<f64>().unwrap_or(2.0);
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(ms), _) => Duration::from_secs_f64(number(ms) / 1000.0),
        (None, Some(s)) => Duration::from_secs_f64(number(s)),
        (None, None) => Duration::from_secs_f64(number(text)),
    }
}

// ---- providers ----------------------------------------------------------------------------------

/// Applies what changes, the first change at once, the next ones `throttle` apart.
fn follow_files(proxy: &Proxy, folder: &std::path::Path, throttle: Duration) {
    let mut seen = None;
    loop {
        let files = routes::files(folder);
        if seen.as_ref() == Some(&files) {
            thread::sleep(POLL);
            continue;
        }
        match routes::from_files(&files) {
            Ok(routes) => {
                proxy.apply(routes);
                seen = Some(files);
                thread::sleep(throttle);
            }
            Err(error) => {
                println!("nothing is applied: {error}");
                seen = Some(files);
            }
        }
    }
}

fn follow_docker(proxy: Arc<Proxy>, docker: Docker, throttle: Duration) {
    let docker = Arc::new(docker);
    let changes = Arc::new(AtomicUsize::new(0));
    let (events, seen) = (Arc::clone(&docker), Arc::clone(&changes));
    thread::spawn(move || {
        loop {
            let changed = || {
                seen.fetch_add(1, Ordering::SeqCst);
            };
            let done = events.follow(changed);
            println!("the engine is gone: {done:?}");
            thread::sleep(Duration::from_secs(1));
        }
    });
    thread::spawn(move || {
        let mut known = 0;
        loop {
            let now = changes.load(Ordering::SeqCst);
            if now == known {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            known = now;
            match docker.routes() {
                Ok(routes) => {
                    proxy.apply(routes);
                    thread::sleep(throttle);
                }
                Err(error) => println!("docker: {error}"),
            }
        }
    });
}

// ---- serving ------------------------------------------------------------------------------------

type SigSet = [u64; 16];

unsafe extern "C" {
    fn sigemptyset(set: *mut SigSet) -> i32;
    fn sigaddset(set: *mut SigSet, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const SigSet, old: *mut SigSet) -> i32;
    fn sigwait(set: *const SigSet, signal: *mut i32) -> i32;
}

#[derive(Default)]
struct Proxy {
    routes: RwLock<Arc<Routes>>,
    stopping: AtomicBool,
    open: AtomicUsize,
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    keep_alive: bool,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or("")
    }

    fn query(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Proxy {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// As the first process of a container the defaults would ignore signals: they are blocked, and
    /// one thread waits for them.
    fn stop_on_signals(self: &Arc<Self>, ports: Vec<u16>) {
        let mut set: SigSet = [0; 16];
        // SAFETY: `set` is as large as glibc's sigset_t and outlives the calls.
        unsafe {
            sigemptyset(&mut set);
            sigaddset(&mut set, 15);
            sigaddset(&mut set, 2);
            pthread_sigmask(0, &set, std::ptr::null_mut());
        }
        let proxy = Arc::clone(self);
        thread::spawn(move || {
            let mut signal = 0;
            // SAFETY: as above; `signal` is a valid place for the answer.
            unsafe { sigwait(&set, &mut signal) };
            println!("stops on signal {signal}");
            proxy.stopping.store(true, Ordering::SeqCst);
            // A connection of our own wakes each thread that waits in accept().
            for port in ports {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                drop(TcpStream::connect_timeout(&address, Duration::from_secs(1)));
            }
        });
    }

    fn apply(&self, routes: Routes) {
        let servers: Vec<String> = (routes.http.services.iter().chain(&routes.tcp.services))
            .map(|(name, service)| format!("{name} -> {}", service.servers.join(" ")))
            .collect();
        println!("applied: {} routers; {}", routes.http.routers.len(), servers.join("; "));
        *self.routes.write().unwrap() = Arc::new(routes);
    }

    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read().unwrap())
    }

    fn serve(self: &Arc<Self>, entry_point: &str, listener: &TcpListener) {
        loop {
            if self.stopping() {
                // What the kernel has accepted already is served.
                let _ = listener.set_nonblocking(true);
            }
            match listener.accept() {
                Ok((stream, peer)) => {
                    let (proxy, point) = (Arc::clone(self), entry_point.to_owned());
                    proxy.open.fetch_add(1, Ordering::SeqCst);
                    thread::spawn(move || {
                        let _ = proxy.connection(&point, stream, peer);
                        proxy.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn connection(&self, point: &str, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let routes = self.routes();
        let tcp = routes.tcp.routers.iter().find(|router| serves(router, point));
        if let Some(service) = tcp.and_then(|router| routes.tcp.services.get(&router.service)) {
            return splice(stream, service.next().ok_or(io::ErrorKind::NotFound)?);
        }
        drop(routes);
        let mut reader = BufReader::new(stream.try_clone()?);
        while self.wait(&stream, &reader)? {
            stream.set_read_timeout(Some(ANSWER))?;
            let Some(request) = read_request(&mut reader)? else { break };
            let reusable = self.answer(point, &request, &stream, peer)?;
            if !reusable || !request.keep_alive || self.stopping() {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a request to begin.
    fn wait(&self, stream: &TcpStream, reader: &BufReader<TcpStream>) -> io::Result<bool> {
        let begun = Instant::now();
        stream.set_read_timeout(Some(POLL))?;
        while reader.buffer().is_empty() {
            match stream.peek(&mut [0]) {
                Ok(read) => return Ok(read > 0),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
            if self.stopping() || begun.elapsed() > IDLE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers one request; says whether the connection can serve another.
    fn answer(
        &self,
        point: &str,
        request: &Request,
        stream: &TcpStream,
        peer: SocketAddr,
    ) -> io::Result<bool> {
        let routes = self.routes();
        let alive = request.keep_alive && !self.stopping();
        if point == "traefik" {
            let (status, body, next) = api(&routes, request);
            return respond(stream, status, &body, alive, next);
        }
        let host = request.header("host").unwrap_or("");
        let asked = Asked {
            method: &request.method,
            host: host.rsplit_once(':').map_or(host, |(name, _)| name),
            path: request.path(),
            headers: &request.headers,
        };
        let router = routes.http.routers.iter().find(|router| {
            serves(router, point) && router.rule.as_ref().is_some_and(|rule| rule.matches(&asked))
        });
        let Some(router) = router else {
            return respond(stream, 404, "404 page not found\n", alive, None);
        };
        if router.service.ends_with("@internal") {
            let (status, body, next) = api(&routes, request);
            return respond(stream, status, &body, alive, next);
        }
        let server = routes.http.services.get(&router.service).and_then(Service::next);
        let Some(server) = server else {
            return respond(stream, 503, "no available server\n", alive, None);
        };
        let target = rewritten(&routes, router, &request.target);
        match forward(server, &target, request, stream, peer, alive) {
            Ok(reusable) => Ok(reusable),
            // Nothing has been sent to the client yet.
            Err(Failure::Before(error)) => {
                println!("{server}: {error}");
                let late =
                    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
                let (status, text) =
                    if late { (504, "Gateway Timeout") } else { (502, "Bad Gateway") };
                respond(stream, status, text, alive, None)
            }
            Err(Failure::Midway(error)) => {
                println!("{server}: in the middle of an answer: {error}");
                Err(error)
            }
        }
    }
}

fn serves(router: &Router, point: &str) -> bool {
    router.error.is_none()
        && (router.entry_points.is_empty() || router.entry_points.iter().any(|name| name == point))
}

fn rewritten(routes: &Routes, router: &Router, target: &str) -> String {
    let mut target = target.to_owned();
    for middleware in router.middlewares.iter().filter_map(|name| routes.paths.get(name)) {
        let prefixes = middleware.at(&["stripPrefix", "prefixes"]).map(Data::texts);
        let prefix = prefixes.iter().flatten().find(|prefix| target.starts_with(prefix.as_str()));
        if let Some(prefix) = prefix {
            target = target[prefix.len()..].to_owned();
            if !target.starts_with('/') {
                target.insert(0, '/');
            }
        }
        if let Some(prefix) = middleware.at(&["addPrefix", "prefix"]).and_then(Data::text) {
            target.insert_str(0, prefix);
        }
    }
    target
}

// ---- HTTP ---------------------------------------------------------------------------------------

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(64 * 1024).read_line(&mut line)?;
    if !line.is_empty() && !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().into())),
            None => return Ok(headers),
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let line = read_line(reader)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let headers = read_headers(reader)?;
    let length = match header(&headers, "content-length").map(str::parse) {
        Some(Ok(length)) => length,
        Some(Err(_)) => return Err(io::ErrorKind::InvalidData.into()),
        None => 0,
    };
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if header(&headers, "transfer-encoding").is_some() {
        body = read_chunks(reader)?;
    }
    let keep_alive = match header(&headers, "connection").map(str::to_lowercase) {
        Some(value) => value != "close",
        None => line.ends_with("HTTP/1.1"),
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Some(Request { method, target, headers, body, keep_alive }))
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let begin = body.len();
        body.resize(begin + size, 0);
        reader.read_exact(&mut body[begin..])?;
        read_line(reader)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Gateway Timeout",
    }
}

fn respond(
    mut stream: &TcpStream,
    status: u16,
    body: &str,
    alive: bool,
    next_page: Option<usize>,
) -> io::Result<bool> {
    let kind = if body.starts_with(['{', '[']) { "application/json" } else { "text/plain" };
    let connection = if alive { "keep-alive" } else { "close" };
    let next = next_page.map(|page| format!("x-next-page: {page}\r\n")).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{next}\
         connection: {connection}\r\n\r\n{body}",
        reason(status),
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    Ok(alive)
}

enum Failure {
    Before(io::Error),
    Midway(io::Error),
}

fn dial(server: &str) -> io::Result<TcpStream> {
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    let address = address.trim_end_matches('/');
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, DIAL)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request to a server and its answer to the client, as it comes.
fn forward(
    server: &str,
    target: &str,
    request: &Request,
    client: &TcpStream,
    peer: SocketAddr,
    alive: bool,
) -> Result<bool, Failure> {
    let exchange = || -> io::Result<(BufReader<TcpStream>, String, Vec<(String, String)>)> {
        let mut stream = dial(server)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
        let hop = ["connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"];
        for (name, value) in &request.headers {
            if !hop.contains(&name.as_str()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !request.body.is_empty() || request.header("content-length").is_some() {
            head.push_str(&format!("content-length: {}\r\n", request.body.len()));
        }
        let host = request.header("host").unwrap_or("");
        head.push_str(&format!(
            "x-forwarded-for: {}\r\nx-forwarded-host: {host}\r\nx-forwarded-proto: http\r\n\
             connection: close\r\n\r\n",
            peer.ip()
        ));
        stream.write_all(head.as_bytes())?;
        stream.write_all(&request.body)?;
        let mut reader = BufReader::new(stream);
        loop {
            let status = read_line(&mut reader)?;
            if !status.starts_with("HTTP/1.") {
                return Err(io::Error::other("it closed without an answer"));
            }
            let headers = read_headers(&mut reader)?;
            if !status.contains(" 1")
                || status.split(' ').nth(1).is_none_or(|s| !s.starts_with('1'))
            {
                return Ok((reader, status, headers));
            }
        }
    };
    let (mut reader, status, headers) = exchange().map_err(Failure::Before)?;
    let code = status.split(' ').nth(1).unwrap_or("");
    let bodiless = request.method == "HEAD" || code == "204" || code == "304";
    let length = header(&headers, "content-length").and_then(|length| length.parse::<u64>().ok());
    let chunked = header(&headers, "transfer-encoding").is_some();
    let alive = alive && (bodiless || chunked || length.is_some());
    let mut head = format!("{status}\r\n");
    for (name, value) in headers.iter().filter(|(n, _)| n != "connection" && n != "keep-alive") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(if alive {
        "connection: keep-alive\r\n\r\n"
    } else {
        "connection: close\r\n\r\n"
    });
    let mut client = client;
    let mut copy = || -> io::Result<()> {
        client.write_all(head.as_bytes())?;
        match length {
            _ if bodiless => {}
            Some(length) if !chunked => {
                if io::copy(&mut (&mut reader).take(length), &mut client)? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // The server closes behind its answer: its chunks are passed on as they are.
            _ => {
                io::copy(&mut reader, &mut client)?;
            }
        }
        Ok(())
    };
    copy().map_err(Failure::Midway)?;
    Ok(alive)
}

/// Joins a connection with one to a server.
fn splice(client: TcpStream, server: &str) -> io::Result<()> {
    let server = dial(server)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let there = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
    let _ = there.join();
    Ok(())
}

// ---- the API ------------------------------------------------------------------------------------

/// Status, body, and the number of the next page.
fn api(routes: &Routes, request: &Request) -> (u16, String, Option<usize>) {
    let path = request.path().trim_end_matches('/');
    match path {
        "/ping" => return (200, "OK".into(), None),
        "/api/version" => return (200, "{\"Version\":\"3 (stand-in)\"}".into(), None),
        "/api/rawdata" => {
            let object = |items: Vec<Data>| {
                let named = |item: Data| Some((item.get("name")?.text()?.to_owned(), item.clone()));
                Data::Map(items.into_iter().filter_map(named).collect())
            };
            let data =
                map([("routers", object(routers(routes))), ("services", object(services(routes)))]);
            return (200, data.json(), None);
        }
        _ => {}
    }
    for (place, items) in [("routers", routers(routes)), ("services", services(routes))] {
        let Some(rest) = path.strip_prefix("/api/http/").and_then(|p| p.strip_prefix(place)) else {
            continue;
        };
        if let Some(name) = rest.strip_prefix('/') {
            let is = |item: &&Data| item.get("name").and_then(Data::text) == Some(name);
            return match items.iter().find(is) {
                Some(item) => (200, item.json(), None),
                None => (404, format!("{{\"message\":{}}}", quoted("not found")), None),
            };
        }
        let number = |name, default: usize| {
            let value = request.query(name).and_then(|value| value.parse().ok());
            value.filter(|n| *n > 0).unwrap_or(default)
        };
        let (page, size) = (number("page", 1), number("per_page", 100));
        let begin = ((page - 1) * size).min(items.len());
        let end = (begin + size).min(items.len());
        let next = if end < items.len() { page + 1 } else { 1 };
        return (200, Data::List(items[begin..end].to_vec()).json(), Some(next));
    }
    (404, "404 page not found\n".into(), None)
}

fn routers(routes: &Routes) -> Vec<Data> {
    let provider = routes.provider;
    let mut all: Vec<Data> = routes
        .http
        .routers
        .iter()
        .map(|router| {
            let status = if router.error.is_some() { "disabled" } else { "enabled" };
            let mut entries = vec![
                ("entryPoints", router.entry_points.clone().into()),
                ("service", router.service.as_str().into()),
                ("rule", router.text.as_str().into()),
                ("priority", Data::Number(router.priority)),
                ("status", status.into()),
                ("using", router.entry_points.clone().into()),
                ("name", Data::Text(format!("{}@{provider}", router.name))),
                ("provider", provider.into()),
            ];
            if let Some(error) = &router.error {
                entries.push(("error", vec![error.clone()].into()));
            }
            map(entries)
        })
        .collect();
    all.sort_by_key(|router| router.get("name").map(Data::json));
    all
}

fn services(routes: &Routes) -> Vec<Data> {
    let provider = routes.provider;
    let one = |(name, service): (&String, &Service)| {
        let users = routes.http.routers.iter().filter(|router| router.service == *name);
        let users: Vec<String> = users.map(|user| format!("{}@{provider}", user.name)).collect();
        let servers = service.servers.iter();
        let list = servers.clone().map(|url| map([("url", url.as_str().into())])).collect();
        let (kind, content, what) = match service.weighted {
            true => ("weighted", map([("services", Data::List(Vec::new()))]), "weighted"),
            false => {
                let balancer = map([
                    ("servers", Data::List(list)),
                    ("strategy", "wrr".into()),
                    ("passHostHeader", Data::Bool(true)),
                ]);
                ("loadBalancer", balancer, "loadbalancer")
            }
        };
        let up = servers.map(|url| (url.clone(), "UP".into())).collect();
        map([
            (kind, content),
            ("status", "enabled".into()),
            ("usedBy", users.into()),
            ("serverStatus", Data::Map(up)),
            ("name", Data::Text(format!("{name}@{provider}"))),
            ("provider", provider.into()),
            ("type", what.into()),
        ])
    };
    routes.http.services.iter().map(one).collect()
}
