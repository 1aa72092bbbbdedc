//! What every measured client shares: its arguments, the closed loop, resource usage, one JSON line as the report.
//!
//! A client is a program `<name> WORKLOAD [--conc C] [--n N] [--addr A] [--rt multi|current] [--no-warm]`. It connects
//! to the stub server, does the workload's `n` requests with `conc` in flight and prints what they cost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

/// Inserts one row of the stub's `bench.kv`.
pub const INSERT: &str = "INSERT INTO bench.kv (k, v) VALUES (?, ?)";
/// Reads one row of it; the stub writes the key into the first eight bytes of the answer.
pub const POINT: &str = "SELECT v FROM bench.kv WHERE k = ?";
/// Reads the whole table of mixed types.
pub const SCAN: &str = "SELECT k, name, score, at, id, tags, attrs FROM bench.mixed";
/// Rows per page of scans.
pub const PAGE_SIZE: i32 = 5000;
/// Bytes of the blob that is inserted.
pub const BLOB: [u8; 100] = [0xAB; 100];

/// The command line of a client.
pub struct Arguments {
    words: Vec<String>,
    /// What to do.
    pub workload: String,
    /// Requests in flight.
    pub concurrency: usize,
    /// Requests, or sessions of the workload `idle`.
    pub count: u64,
    /// The stub server.
    pub address: String,
}

impl Arguments {
    /// Reads the process's arguments.
    ///
    /// # Panics
    ///
    /// If they make no sense: only `cargo xtask bench` writes them.
    pub fn parse() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let option = |name: &str, default: &str| {
            let at = words.iter().position(|word| word == name);
            at.and_then(|at| words.get(at + 1)).map_or_else(|| default.to_owned(), Clone::clone)
        };
        Self {
            workload: words.first().expect("a workload").clone(),
            concurrency: option("--conc", "1").parse().expect("a number"),
            count: option("--n", "100000").parse().expect("a number"),
            address: option("--addr", "127.0.0.1:19042"),
            words,
        }
    }

    /// Whether the flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.words.iter().any(|word| word == flag)
    }

    /// Runs the client on the runtime asked for: tokio's default one, or `--rt current`.
    pub fn run<F: Future>(&self, client: F) -> F::Output {
        let is_current = self.words.windows(2).any(|pair| pair == ["--rt", "current"]);
        let mut builder = match is_current {
            true => tokio::runtime::Builder::new_current_thread(),
            false => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build().expect("a runtime").block_on(client)
    }
}

/// Counts what happens between its start and its report.
pub struct Meter {
    started: Instant,
    usage: Usage,
}

struct Usage {
    user: f64,
    system: f64,
    context_switches: i64,
}

impl Usage {
    fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the kernel counts");
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Self {
            user: seconds(usage.user_time()),
            system: seconds(usage.system_time()),
            context_switches: usage.voluntary_context_switches() + usage.involuntary_context_switches(),
        }
    }
}

impl Meter {
    /// Starts counting.
    pub fn start() -> Self {
        Self { usage: Usage::now(), started: Instant::now() }
    }

    /// Prints the costs of `count` operations; `latencies` are nanoseconds, `extra` more fields.
    pub fn report(self, count: u64, mut latencies: Vec<u32>, extra: Value) {
        let seconds = self.started.elapsed().as_secs_f64();
        let usage = Usage::now();
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let at = (latencies.len().saturating_sub(1)) as f64 * share;
            latencies.get(at as usize).map_or(0.0, |nanos| f64::from(*nanos) / 1e3)
        };
        let per_million = 1e6 / count as f64;
        let (user, system) = (usage.user - self.usage.user, usage.system - self.usage.system);
        let mut report = json!({
            "count": count,
            "seconds": seconds,
            "per_second": count as f64 / seconds,
            "p50_us": quantile(0.5),
            "p99_us": quantile(0.99),
            "user_us": user * per_million,
            "system_us": system * per_million,
            "cpu_us": (user + system) * per_million,
            "context_switches": usage.context_switches - self.usage.context_switches,
        });
        if let (Value::Object(report), Value::Object(extra)) = (&mut report, extra) {
            report.extend(extra);
        }
        println!("{report}");
    }
}

/// Resident memory of the process, in KiB.
///
/// # Panics
///
/// Where there is no `/proc`.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Runs `count` requests from `concurrency` tasks, each sending its next one when the last is answered; returns the
/// latencies in nanoseconds.
async fn closed_loop<F, Fut>(concurrency: usize, count: u64, request: F) -> Vec<u32>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..concurrency)
        .map(|_| {
            let (request, next) = (request.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity((count as usize / concurrency) * 5 / 4 + 16);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return latencies;
                    }
                    let started = Instant::now();
                    request(number).await;
                    latencies.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(count as usize);
    for task in tasks {
        all.extend(task.await.expect("no request failed"));
    }
    all
}

/// Measures requests in a closed loop, after a warm-up of a tenth of them.
pub async fn requests<F, Fut>(arguments: &Arguments, request: F)
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    if !arguments.has("--no-warm") {
        closed_loop(arguments.concurrency, arguments.count / 10, request.clone()).await;
    }
    let meter = Meter::start();
    let latencies = closed_loop(arguments.concurrency, arguments.count, request).await;
    meter.report(arguments.count, latencies, json!({}));
}

/// Measures the second of two scans; `scan` returns its number of rows.
pub async fn scans<Fut: Future<Output = u64>>(scan: impl Fn() -> Fut) {
    scan().await;
    let meter = Meter::start();
    let rows = scan().await;
    meter.report(rows, Vec::new(), json!({}));
}

/// Measures connecting; `facts` tells what the session then knows, to show that it is the same for all.
pub async fn connect<S>(session: impl Future<Output = S>, facts: impl FnOnce(&S) -> Value) {
    let meter = Meter::start();
    let session = session.await;
    let known = facts(&session);
    meter.report(1, Vec::new(), known);
}

/// Measures the resident memory of further sessions after the first, once they have been idle for a second.
pub async fn idle<S, Fut: Future<Output = S>>(arguments: &Arguments, session: impl Fn() -> Fut) {
    let mut sessions = vec![session().await];
    let before = resident_kib();
    let meter = Meter::start();
    for _ in 0..arguments.count {
        sessions.push(session().await);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let kib = (resident_kib().saturating_sub(before)) as f64 / arguments.count as f64;
    meter.report(arguments.count, Vec::new(), json!({ "kib_per_session": kib, "first_kib": before }));
}

/// Makes sure that an answer belongs to its request.
///
/// # Panics
///
/// If it does not.
pub fn check_blob(blob: &[u8], key: i64) {
    assert!(blob.get(..8) == Some(&key.to_be_bytes()[..]), "the answer does not belong to request {key}");
}

/// What a session knows of the cluster, for [`connect`].
pub fn known(nodes: usize, tables: usize) -> Value {
    json!({ "nodes": nodes, "tables": tables })
}
