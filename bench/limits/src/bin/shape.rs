//! The limit of the API shape: one future per request over one shared connection, as a driver
//! must offer it, with nothing else (no routing, retries, metrics, timeouts). Shows what the
//! ideas in the report are worth together:
//! - callers encode straight into the connection's write buffer; no channel, no per-request buffer
//! - answers land in a slot table indexed by stream id; no oneshot, no hash map
//! - one I/O task; it flushes after the tasks it woke have queued their next requests
//! - a lone caller writes inline
//! - bodies are slices of the read buffer

use bytes::{Buf, Bytes, BytesMut};
use measure::{Arguments, INSERT, POINT, check_blob};
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

enum Slot {
    Free,
    Waiting(Waker),
    Done(Bytes),
}
struct Inner {
    out: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// the I/O task is about to flush: no need to wake it
    armed: bool,
    io: Option<Waker>,
}
struct Conn {
    s: TcpStream,
    m: Mutex<Inner>,
}

impl Conn {
    /// Sends what `encode` appends (its header's stream id is patched) and waits for the body.
    async fn call(&self, encode: impl Fn(&mut Vec<u8>)) -> Bytes {
        let mut id = None;
        poll_fn(move |cx| {
            let mut g = self.m.lock().unwrap();
            let i = &mut *g;
            let Some(id) = id else {
                // enough stream ids for every bench; a driver would queue here
                let stream = i.free.pop().expect("stream id");
                id = Some(stream);
                let at = i.out.len();
                encode(&mut i.out);
                i.out[at + 2..at + 4].copy_from_slice(&stream.to_be_bytes());
                i.slots[stream as usize] = Slot::Waiting(cx.waker().clone());
                if !i.armed {
                    let alone = i.slots.len() - i.free.len() == 1;
                    if alone {
                        if let Ok(n) = self.s.try_write(&i.out) {
                            i.out.drain(..n);
                        }
                    }
                    if !i.out.is_empty() {
                        i.armed = true;
                        let w = i.io.clone();
                        drop(g);
                        w.inspect(Waker::wake_by_ref);
                    }
                }
                return Poll::Pending;
            };
            match std::mem::replace(&mut i.slots[id as usize], Slot::Free) {
                Slot::Done(b) => {
                    i.free.push(id);
                    Poll::Ready(b)
                }
                _ => {
                    i.slots[id as usize] = Slot::Waiting(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn io(self: Arc<Self>) {
        let mut buf = BytesMut::with_capacity(128 << 10);
        let mut wake: Vec<Waker> = Vec::new();
        let mut out: Vec<u8> = Vec::new();
        loop {
            // wait for bytes to read or a request to flush
            let mut ready = std::pin::pin!(self.s.ready(Interest::READABLE));
            poll_fn(|cx| {
                let mut g = self.m.lock().unwrap();
                if g.armed {
                    return Poll::Ready(());
                }
                g.io = Some(cx.waker().clone());
                drop(g);
                ready.as_mut().poll(cx).map(|r| {
                    r.unwrap();
                })
            })
            .await;
            if buf.capacity() - buf.len() < 16 << 10 {
                buf.reserve(128 << 10);
            }
            if matches!(self.s.try_read_buf(&mut buf), Ok(0)) {
                return;
            }
            {
                let mut g = self.m.lock().unwrap();
                while buf.len() >= 9 {
                    let n = u32::from_be_bytes(buf[5..9].try_into().unwrap()) as usize;
                    if buf.len() < 9 + n {
                        break;
                    }
                    assert_eq!(buf[4], 8);
                    let stream = u16::from_be_bytes([buf[2], buf[3]]) as usize;
                    buf.advance(9);
                    let body = buf.split_to(n).freeze();
                    if let Slot::Waiting(w) = std::mem::replace(&mut g.slots[stream], Slot::Done(body)) {
                        wake.push(w);
                    }
                }
                g.armed = g.armed || wake.len() > 1;
            }
            wake.drain(..).for_each(Waker::wake);
            // let the woken callers queue their next requests, then flush them together
            tokio::task::yield_now().await;
            {
                let mut g = self.m.lock().unwrap();
                std::mem::swap(&mut g.out, &mut out);
                g.armed = false;
            }
            (&mut &self.s).write_all_now(&out).await;
            out.clear();
        }
    }
}
trait WriteAllNow {
    async fn write_all_now(&mut self, b: &[u8]);
}
impl WriteAllNow for &TcpStream {
    async fn write_all_now(&mut self, mut b: &[u8]) {
        while !b.is_empty() {
            match self.try_write(b) {
                Ok(n) => b = &b[n..],
                Err(_) => self.writable().await.unwrap(),
            }
        }
    }
}

fn frame(op: u8, body: &[u8]) -> Vec<u8> {
    let mut f = vec![4, 0, 0, 0, op];
    f.extend_from_slice(&(body.len() as u32).to_be_bytes());
    f.extend_from_slice(body);
    f
}
async fn connect(addr: &str) -> Arc<Conn> {
    let mut s = TcpStream::connect(addr).await.unwrap();
    s.set_nodelay(true).unwrap();
    s.write_all(&frame(1, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0")).await.unwrap();
    s.read_exact(&mut [0u8; 9]).await.unwrap();
    const N: u16 = 4096;
    let inner = Inner {
        out: Vec::new(),
        slots: (0..N).map(|_| Slot::Free).collect(),
        free: (0..N).rev().collect(),
        armed: false,
        io: None,
    };
    let c = Arc::new(Conn { s, m: Mutex::new(inner) });
    tokio::spawn(c.clone().io());
    c
}

fn main() {
    let args = &Arguments::parse();
    args.run(async {
        let c = connect(&args.address).await;
        let insert = args.workload == "insert";
        let q = if insert { INSERT } else { POINT };
        let mut b = (q.len() as u32).to_be_bytes().to_vec();
        b.extend_from_slice(q.as_bytes());
        let prep = frame(9, &b);
        let id: [u8; 18] = c.call(|o| o.extend_from_slice(&prep)).await[4..22].try_into().unwrap();
        measure::requests(args, move |i| {
            let c = c.clone();
            async move {
                let v = [0xABu8; 100];
                let body = c
                    .call(|o| {
                        let at = o.len();
                        o.extend_from_slice(&[4, 0, 0, 0, 10, 0, 0, 0, 0]);
                        o.extend_from_slice(&id);
                        o.extend_from_slice(&[0, 1, 0x03, 0, 1 + insert as u8, 0, 0, 0, 8]);
                        o.extend_from_slice(&i.to_be_bytes());
                        if insert {
                            o.extend_from_slice(&100u32.to_be_bytes());
                            o.extend_from_slice(&v);
                        }
                        let n = (o.len() - at - 9) as u32;
                        o[at + 5..at + 9].copy_from_slice(&n.to_be_bytes());
                    })
                    .await;
                if !insert {
                    // kind, flags, column count, row count, then the cell
                    check_blob(&body[20..], i as i64);
                }
            }
        })
        .await;
    });
}
