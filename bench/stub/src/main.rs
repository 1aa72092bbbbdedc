//! A fake CQL server (protocol v4, with `--v5` also v5) that spends as little processor time per request as it can, so
//! that the client is what gets measured.
//!
//! One thread per connection: one read, all whole requests answered from pre-encoded bytes, one write. Loopback only.
//! It trusts its clients: malformed requests end the process.
//!
//! `stub [--port 19042] [--blob 100] [--rows 1000000] [--nodes 1] [--vnodes 16] [--tables 0] [--v5] [--all-nodes]
//! [--verbose]`

mod answers;
mod catalog;
mod wire;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use answers::{Options, Stub};

/// Threads need little stack, and there may be hundreds.
const STACK_LEN: usize = 128 << 10;

/// Bytes of a connection's first read buffer; it grows with larger requests.
const READ_LEN: usize = 256 << 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let at = words.iter().position(|word| word == name);
        at.map_or(default, |at| words[at + 1].parse().expect("a number"))
    };
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let options = Options {
        port: number("--port", 19042) as u16,
        blob: number("--blob", 100).max(8),
        rows: number("--rows", 1_000_000) as u32,
        nodes: number("--nodes", 1),
        vnodes: number("--vnodes", 16),
        tables: number("--tables", 0),
        is_v5: has("--v5"),
        is_verbose: has("--verbose"),
    };
    let stub: &'static Stub = Box::leak(Box::new(Stub::new(&options)));
    let reachable = if has("--all-nodes") { options.nodes } else { 1 };
    let listeners: Vec<_> = (0..reachable)
        .map(|node| (node, TcpListener::bind((catalog::node_ip(node), options.port)).expect("a free port")))
        .map(|(node, listener)| thread(move || accept(stub, node, &listener)))
        .collect();
    println!("ready {}", options.port);
    for listener in listeners {
        listener.join().expect("listeners do not end");
    }
}

fn accept(stub: &'static Stub, node: usize, listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread(move || {
            // The client is gone; there is nobody to tell.
            let _ = serve(stub, node, stream);
        });
    }
}

fn thread(run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().stack_size(STACK_LEN).spawn(run).expect("a thread")
}

/// Answers one connection until it ends.
fn serve(stub: &Stub, node: usize, mut s: TcpStream) -> std::io::Result<()> {
    s.set_nodelay(true)?;
    let mut buf = vec![0u8; READ_LEN];
    let (mut filled, mut segments) = (0, false);
    let (mut env, mut out, mut wrapped) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let n = s.read(&mut buf[filled..])?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let was = segments;
        let mut pos = 0;
        if segments {
            pos = wire::from_segments(&buf[..filled], &mut env);
            let done = stub.drain(node, &env, &mut out, &mut segments);
            env.drain(..done);
        } else {
            pos += stub.drain(node, &buf[..filled], &mut out, &mut segments);
        }
        buf.copy_within(pos..filled, 0);
        filled -= pos;
        if filled == buf.len() {
            buf.resize(buf.len() * 2, 0);
        }
        if was {
            wire::to_segments(&out, &mut wrapped);
            s.write_all(&wrapped)?;
            wrapped.clear();
        } else {
            s.write_all(&out)?;
        }
        out.clear();
    }
}
