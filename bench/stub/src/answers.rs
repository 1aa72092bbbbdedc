//! What the stub answers: statements are recognised by their words, rows come from bytes encoded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use crate::catalog::{self, Catalog, lcg};
use crate::wire::*;

/// Rows that are encoded; a scan repeats their pages.
const ENCODED_ROWS: i64 = 20_000;

/// What the stub poses as.
pub struct Options {
    pub port: u16,
    /// Bytes of the blob of a point read, at least 8.
    pub blob: usize,
    /// Rows of a whole scan.
    pub rows: u32,
    pub nodes: usize,
    pub vnodes: usize,
    /// Tables beside the two that requests use.
    pub tables: usize,
    pub is_v5: bool,
    pub is_verbose: bool,
}

/// Columns of the table that is scanned.
pub const MIXED: [(&str, &str); 7] = [
    ("k", "bigint"),
    ("name", "text"),
    ("score", "double"),
    ("at", "timestamp"),
    ("id", "uuid"),
    ("tags", "list<int>"),
    ("attrs", "map<text,text>"),
];
const KV: [(&str, &str); 2] = [("k", "bigint"), ("v", "blob")];

/// The answers of all connections.
pub struct Stub {
    catalog: Catalog,
    /// Rows of a whole scan.
    rows: u32,
    is_v5: bool,
    is_verbose: bool,
    /// RESULT Rows body for a point read: [with metadata, without]; the blob's first 8 bytes echo k.
    point: [Vec<u8>; 2],
    /// offset of the blob's first byte in `point`
    point_blob: [usize; 2],
    /// encoded rows of one scan page, and the end offset of each row
    page: OnceLock<(Vec<u8>, Vec<usize>)>,
    /// metadata statements prepared so far
    prepared: Mutex<Vec<String>>,
    /// encoded answers to metadata statements
    cache: Mutex<HashMap<String, Arc<Vec<u8>>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Insert,
    Point,
    Scan,
    System,
    Other,
}
fn classify(q: &str) -> Kind {
    let l = q.trim_start().to_ascii_lowercase();
    if l.starts_with("select") {
        if l.contains("bench.mixed") {
            Kind::Scan
        } else if l.contains("bench.kv") {
            Kind::Point
        } else {
            Kind::System
        }
    } else if l.starts_with("insert") || l.starts_with("update") || l.starts_with("delete") {
        Kind::Insert
    } else {
        Kind::Other
    }
}
fn cols_meta(o: &mut Vec<u8>, ks: &str, table: &str, cols: &[(&str, &str)]) {
    string(o, ks);
    string(o, table);
    for (n, t) in cols {
        string(o, n);
        ty(o, t);
    }
}

impl Stub {
    /// A stub that poses as `options` say.
    pub fn new(options: &Options) -> Self {
        let (with_metadata, without) = (Self::point_body(options.blob, true), Self::point_body(options.blob, false));
        Self {
            catalog: catalog::build(options.nodes, options.vnodes, options.tables, options.port),
            rows: options.rows,
            is_v5: options.is_v5,
            is_verbose: options.is_verbose,
            point: [with_metadata.0, without.0],
            point_blob: [with_metadata.1, without.1],
            page: OnceLock::new(),
            prepared: Mutex::default(),
            cache: Mutex::default(),
        }
    }

    fn point_body(blob: usize, meta: bool) -> (Vec<u8>, usize) {
        let mut o = Vec::new();
        i32(&mut o, 2);
        i32(&mut o, if meta { 1 } else { 4 });
        i32(&mut o, 1);
        if meta {
            cols_meta(&mut o, "bench", "kv", &KV[1..]);
        }
        i32(&mut o, 1);
        i32(&mut o, blob as i32);
        let at = o.len();
        o.resize(at + blob, 0xAB);
        (o, at)
    }
    fn page(&self) -> &(Vec<u8>, Vec<usize>) {
        self.page.get_or_init(|| {
            let (mut o, mut ends, mut s) = (Vec::new(), Vec::new(), 42u64);
            for k in 0..ENCODED_ROWS {
                bytes(&mut o, Some(&k.to_be_bytes()));
                let n = 8 + (lcg(&mut s) % 25) as usize;
                let name: Vec<u8> = (0..n).map(|_| b'a' + (lcg(&mut s) % 26) as u8).collect();
                bytes(&mut o, Some(&name));
                bytes(&mut o, Some(&((lcg(&mut s) >> 11) as f64 / 1e9).to_be_bytes()));
                bytes(&mut o, Some(&(1_700_000_000_000i64 + k).to_be_bytes()));
                let mut u = [0u8; 16];
                u[..8].copy_from_slice(&lcg(&mut s).to_be_bytes());
                u[8..].copy_from_slice(&lcg(&mut s).to_be_bytes());
                u[6] = u[6] & 0x0f | 0x40;
                u[8] = u[8] & 0x3f | 0x80;
                bytes(&mut o, Some(&u));
                let n = (lcg(&mut s) % 6) as usize;
                let l: Vec<Vec<u8>> = (0..n).map(|_| (lcg(&mut s) as i32).to_be_bytes().to_vec()).collect();
                bytes(&mut o, Some(&coll(n, &l)));
                let n = (lcg(&mut s) % 4) as usize;
                let m: Vec<Vec<u8>> = (0..n)
                    .flat_map(|i| {
                        [format!("key{i}").into_bytes(), format!("value-{}", lcg(&mut s) % 10000).into_bytes()]
                    })
                    .collect();
                bytes(&mut o, Some(&coll(n, &m)));
                ends.push(o.len());
            }
            (o, ends)
        })
    }
    /// One scan page, from the query parameters after the consistency.
    fn scan(&self, o: &mut Vec<u8>, p: &[u8], v5: bool) {
        let (flags, mut at) = if v5 { (u32::from_be_bytes(p[..4].try_into().unwrap()), 4) } else { (p[0] as u32, 1) };
        let mut size = 5000usize;
        let mut from = 0u32;
        if flags & 1 != 0 {
            let n = u16::from_be_bytes([p[at], p[at + 1]]);
            at += 2;
            for _ in 0..n {
                at += 4 + i32::from_be_bytes(p[at..at + 4].try_into().unwrap()).max(0) as usize;
            }
        }
        if flags & 4 != 0 {
            size = u32::from_be_bytes(p[at..at + 4].try_into().unwrap()) as usize;
            at += 4;
        }
        if flags & 8 != 0 {
            from = u32::from_be_bytes(p[at + 4..at + 8].try_into().unwrap());
        }
        let (rows, ends) = self.page();
        let n = size.min((self.rows - from) as usize).min(ends.len());
        let next = from + n as u32;
        let meta = flags & 2 == 0;
        let more = next < self.rows;
        i32(o, 2);
        i32(o, if meta { 1 } else { 4 } | if more { 2 } else { 0 });
        i32(o, MIXED.len() as i32);
        if more {
            bytes(o, Some(&next.to_be_bytes()));
        }
        if meta {
            cols_meta(o, "bench", "mixed", &MIXED);
        }
        i32(o, n as i32);
        if n > 0 {
            o.extend_from_slice(&rows[..ends[n - 1]]);
        }
    }
    /// Columns a metadata SELECT asks for, its table and the equality filters of its WHERE.
    #[allow(clippy::type_complexity)]
    fn parse_select(
        &self,
        q: &str,
    ) -> Result<(String, Vec<(&'static str, &'static str)>, Vec<(String, Vec<u8>)>), String> {
        let l = q.replace('\n', " ").replace("  ", " ");
        let low = l.to_ascii_lowercase();
        let f = low.find(" from ").ok_or("no FROM")?;
        let rest = &l[f + 6..];
        let name = rest.split_whitespace().next().unwrap_or("").trim_end_matches(';').to_string();
        let t = self.catalog.get(name.as_str()).ok_or_else(|| format!("unconfigured table {name}"))?;
        let sel = l[7..f].trim();
        let cols = if sel == "*" {
            t.cols.iter().copied().filter(|(n, _)| *n != "replication_json").collect()
        } else {
            let mut v = Vec::new();
            for c in sel.split(',') {
                let c = c.trim();
                let want = if c.to_ascii_lowercase().starts_with("tojson(") { "replication_json" } else { c };
                v.push(*t.cols.iter().find(|(n, _)| *n == want).ok_or_else(|| format!("Undefined column name {c}"))?);
            }
            v
        };
        let mut filt = Vec::new();
        if let Some(w) = rest.to_ascii_lowercase().find(" where ") {
            for term in rest[w + 7..].replace(" AND ", " and ").split(" and ") {
                if let Some((c, v)) = term.split_once('=') {
                    if let Some(v) =
                        v.trim().trim_end_matches(';').strip_prefix('\'').and_then(|v| v.strip_suffix('\''))
                    {
                        filt.push((c.trim().to_string(), v.as_bytes().to_vec()));
                    }
                }
            }
        }
        Ok((name, cols, filt))
    }
    fn system(&self, node: usize, q: &str) -> Result<Arc<Vec<u8>>, String> {
        let key = if q.contains("system.local") { format!("{node}: {q}") } else { q.to_string() };
        if let Some(b) = self.cache.lock().unwrap().get(&key) {
            return Ok(b.clone());
        }
        let (name, cols, filt) = self.parse_select(q)?;
        let (ks, tb) = name.split_once('.').unwrap();
        let mut o = Vec::new();
        i32(&mut o, 2);
        i32(&mut o, 1);
        i32(&mut o, cols.len() as i32);
        let shown: Vec<_> =
            cols.iter().map(|(n, t)| (if *n == "replication_json" { "replication" } else { *n }, *t)).collect();
        cols_meta(&mut o, ks, tb, &shown);
        let rows: Vec<_> = self.catalog[name.as_str()]
            .rows
            .iter()
            .enumerate()
            .filter(|(n, _)| name != "system.local" || *n == node)
            .map(|(_, r)| r)
            .filter(|r| filt.iter().all(|(c, v)| r.get(c.as_str()).is_some_and(|x| x == v)))
            .collect();
        i32(&mut o, rows.len() as i32);
        for r in rows {
            for (n, _) in &cols {
                bytes(&mut o, r.get(n).map(|v| &v[..]));
            }
        }
        let b = Arc::new(o);
        self.cache.lock().unwrap().insert(key, b.clone());
        Ok(b)
    }
    #[allow(clippy::type_complexity)]
    fn prepare(&self, o: &mut Vec<u8>, q: &str, v5: bool) -> Result<(), String> {
        let kind = classify(q);
        let mut id = [0u8; 16];
        id[0] = match kind {
            Kind::Insert => b'I',
            Kind::Point => b'S',
            Kind::Scan => b'M',
            _ => b'Q',
        };
        let (binds, result): (&[(&str, &str)], Vec<(&str, &str)>) = match kind {
            Kind::Insert => (&KV, vec![]),
            Kind::Point => (&KV[..1], KV[1..].to_vec()),
            Kind::Scan => (&[], MIXED.to_vec()),
            Kind::System => {
                let mut p = self.prepared.lock().unwrap();
                let i = p.iter().position(|x| x == q).unwrap_or_else(|| {
                    p.push(q.to_string());
                    p.len() - 1
                });
                id[1..5].copy_from_slice(&(i as u32).to_be_bytes());
                (&[], self.parse_select(q)?.1)
            }
            Kind::Other => return Err("cannot prepare".into()),
        };
        i32(o, 4);
        i16(o, 16);
        o.extend_from_slice(&id);
        if v5 {
            i16(o, 16);
            o.extend_from_slice(&id);
        }
        i32(o, 1);
        i32(o, binds.len() as i32);
        i32(o, !binds.is_empty() as i32);
        if !binds.is_empty() {
            i16(o, 0);
        }
        let table = if kind == Kind::Scan { "mixed" } else { "kv" };
        cols_meta(o, "bench", table, binds);
        if result.is_empty() {
            i32(o, 4);
            i32(o, 0);
        } else {
            i32(o, 1);
            i32(o, result.len() as i32);
            cols_meta(o, "bench", table, &result);
        }
        Ok(())
    }
    /// Answers one request envelope; `true` when the connection turns to v5 segments after it.
    fn answer(&self, node: usize, req: &[u8], o: &mut Vec<u8>) -> bool {
        let v = req[0] & 0x7f;
        let stream = [req[2], req[3]];
        let b = &req[9..];
        let error = |o: &mut Vec<u8>, v: u8, code: i32, msg: &str| {
            let at = begin(o, v, stream, 0x00);
            i32(o, code);
            string(o, msg);
            finish(o, at);
        };
        let v5 = v == 5;
        if !(v == 4 || v5 && self.is_v5) {
            error(
                o,
                4,
                0x000A,
                &format!("Invalid or unsupported protocol version ({v}); supported versions are (4/v4)"),
            );
            return false;
        }
        match req[4] {
            // EXECUTE: the hot path
            0x0A if b[2] == b'I' => {
                let at = begin(o, v, stream, 0x08);
                o[at + 8] = 4;
                o.extend_from_slice(&[0, 0, 0, 1]);
            }
            0x0A if b[2] == b'S' => {
                // id, (v5: result metadata id), consistency, flags, one value: [n:2][len:4][k:8]
                let flags_at = if v5 { 38 } else { 20 };
                let (flags, val) = if v5 { (b[flags_at + 3], flags_at + 4) } else { (b[flags_at], flags_at + 1) };
                let i = (flags >> 1 & 1) as usize;
                let at = begin(o, v, stream, 0x08);
                let body = &self.point[i];
                o[at + 5..at + 9].copy_from_slice(&(body.len() as u32).to_be_bytes());
                o.extend_from_slice(body);
                let p = at + 9 + self.point_blob[i];
                o[p..p + 8].copy_from_slice(&b[val + 6..val + 14]);
            }
            0x0A if b[2] == b'M' => {
                let at = begin(o, v, stream, 0x08);
                self.scan(o, &b[if v5 { 38 } else { 20 }..], v5);
                finish(o, at);
            }
            0x0A => {
                let i = u32::from_be_bytes(b[3..7].try_into().unwrap()) as usize;
                let q = self.prepared.lock().unwrap().get(i).cloned();
                match q.ok_or_else(String::new).and_then(|q| self.system(node, &q)) {
                    Ok(body) => {
                        let at = begin(o, v, stream, 0x08);
                        o.extend_from_slice(&body);
                        finish(o, at);
                    }
                    Err(e) => error(o, v, 0x2200, &e),
                }
            }
            // BATCH
            0x0D => {
                let at = begin(o, v, stream, 0x08);
                i32(o, 1);
                finish(o, at);
            }
            // OPTIONS -> SUPPORTED
            0x05 => {
                let at = begin(o, v, stream, 0x06);
                i16(o, 3);
                for (k, vals) in [
                    ("CQL_VERSION", &["3.4.6"][..]),
                    ("COMPRESSION", &[]),
                    ("PROTOCOL_VERSIONS", if self.is_v5 { &["4/v4", "5/v5"] } else { &["4/v4"] }),
                ] {
                    string(o, k);
                    i16(o, vals.len() as i16);
                    vals.iter().for_each(|x| string(o, x));
                }
                finish(o, at);
            }
            // STARTUP, REGISTER -> READY
            op @ (0x01 | 0x0B) => {
                let at = begin(o, v, stream, 0x02);
                finish(o, at);
                return op == 0x01 && v5;
            }
            // QUERY, PREPARE
            op @ (0x07 | 0x09) => {
                let n = u32::from_be_bytes(b[..4].try_into().unwrap()) as usize;
                let q = std::str::from_utf8(&b[4..4 + n]).unwrap();
                if self.is_verbose {
                    eprintln!("{} {q}", if op == 7 { "QUERY" } else { "PREPARE" });
                }
                let at = begin(o, v, stream, 0x08);
                let r = if op == 0x09 {
                    self.prepare(o, q, v5)
                } else {
                    match classify(q) {
                        Kind::Scan => {
                            self.scan(o, &b[4 + n + 2..], v5);
                            Ok(())
                        }
                        Kind::Point => {
                            o.extend_from_slice(&self.point[0]);
                            Ok(())
                        }
                        Kind::System => self.system(node, q).map(|body| o.extend_from_slice(&body)),
                        _ => {
                            i32(o, 1);
                            Ok(())
                        }
                    }
                };
                match r {
                    Ok(()) => finish(o, at),
                    Err(e) => {
                        if self.is_verbose {
                            eprintln!("  error: {e}");
                        }
                        o.truncate(at);
                        error(o, v, 0x2200, &e);
                    }
                }
            }
            op => error(o, v, 0x000A, &format!("opcode {op}")),
        }
        false
    }

    /// Answers every whole envelope in `b` as the node of this number; returns bytes consumed. Stops when segments begin.
    pub fn drain(&self, node: usize, b: &[u8], out: &mut Vec<u8>, segments: &mut bool) -> usize {
        let mut pos = 0;
        while b.len() - pos >= 9 {
            let n = 9 + u32::from_be_bytes(b[pos + 5..pos + 9].try_into().unwrap()) as usize;
            if b.len() - pos < n {
                break;
            }
            let turn = self.answer(node, &b[pos..pos + n], out);
            pos += n;
            if turn {
                *segments = true;
                break;
            }
        }
        pos
    }
}
