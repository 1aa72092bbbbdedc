//! The song library of the Cassandra tutorials: songs with tags, playlists, and play counts.
//!
//! ```text
//! cargo run -p helenus --example songs -- 127.0.0.1 [--for SECONDS]
//! ```
//!
//! Writes and reads at QUORUM; with `--for` it keeps doing so and at the end reads back every write the cluster had
//! acknowledged. Exit status 1 means that a call failed or an acknowledged write is gone.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use helenus::env::{Environment, Instant, sleep};
use helenus::{BatchType, Consistency, Error, PreparedStatement, Session};
use uuid::Uuid;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("usage: songs CONTACT_POINT... [--for SECONDS]");
        return ExitCode::from(2);
    };
    match run(&arguments).await {
        Ok(report) => {
            println!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    contact_points: Vec<String>,
    duration: Option<Duration>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut parsed = Self { contact_points: Vec::new(), duration: None };
        while let Some(word) = words.next() {
            if word == "--for" {
                parsed.duration = Some(Duration::from_secs(words.next()?.parse().ok()?));
            } else if word.starts_with('-') {
                return None;
            } else {
                parsed.contact_points.push(word);
            }
        }
        (!parsed.contact_points.is_empty()).then_some(parsed)
    }
}

/// What happened, in numbers.
#[derive(Default)]
struct Report {
    writes: usize,
    reads: usize,
    errors: usize,
    lost: usize,
}

impl Report {
    fn is_clean(&self) -> bool {
        self.errors == 0 && self.lost == 0
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { writes, reads, errors, lost } = self;
        write!(f, "{writes} writes acknowledged, {reads} reads, {errors} errors, {lost} acknowledged writes lost")
    }
}

async fn run(arguments: &Arguments) -> Result<Report, Error> {
    let session = Session::builder()
        .contact_points(&arguments.contact_points)
        .consistency(Consistency::Quorum)
        .application_name("songs")
        .connect()
        .await?;
    println!(
        "connected to {:?} with protocol {}: {} nodes",
        session.cluster().cluster_name(),
        session.protocol_version(),
        session.cluster().nodes().len()
    );
    create_schema(&session).await?;
    let mut library = Library::new(session.clone()).await?;
    library.first_songs().await?;
    if let Some(duration) = arguments.duration {
        library.keep_writing(duration).await;
    }
    library.verify().await;
    let closed = session.close(Duration::from_secs(5)).await;
    println!("closed: {closed:?}");
    Ok(library.report)
}

async fn create_schema(session: &Session) -> Result<(), Error> {
    let copies = session.cluster().nodes().len().min(3);
    let statements = [
        format!(
            "CREATE KEYSPACE IF NOT EXISTS songs_app WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"
        ),
        "CREATE TABLE IF NOT EXISTS songs_app.songs (id uuid PRIMARY KEY, title text, album text, artist text, \
         tags set<text>, data blob)"
            .to_owned(),
        "CREATE TABLE IF NOT EXISTS songs_app.playlists (id uuid, song_order int, song_id uuid, title text, \
         album text, artist text, PRIMARY KEY (id, song_order))"
            .to_owned(),
        "CREATE TABLE IF NOT EXISTS songs_app.plays (song_id uuid PRIMARY KEY, count counter)".to_owned(),
    ];
    for statement in statements {
        session.query(statement).timeout(Duration::from_secs(20)).execute().await?;
    }
    Ok(())
}

/// The application: its statements, and what it knows to be stored.
struct Library {
    session: Session,
    insert_song: PreparedStatement,
    select_song: PreparedStatement,
    insert_entry: PreparedStatement,
    select_playlist: PreparedStatement,
    entropy: Environment,
    /// Titles by song, as acknowledged.
    acknowledged: BTreeMap<Uuid, String>,
    report: Report,
}

impl Library {
    async fn new(session: Session) -> Result<Self, Error> {
        Ok(Self {
            insert_song: session
                .prepare("INSERT INTO songs_app.songs (id, title, album, artist, tags, data) VALUES (?, ?, ?, ?, ?, ?)")
                .await?,
            select_song: session.prepare("SELECT title FROM songs_app.songs WHERE id = ?").await?,
            insert_entry: session
                .prepare(
                    "INSERT INTO songs_app.playlists (id, song_order, song_id, title, album, artist) \
                     VALUES (?, ?, ?, ?, ?, ?)",
                )
                .await?,
            select_playlist: session
                .prepare("SELECT song_order, title, artist FROM songs_app.playlists WHERE id = ?")
                .await?,
            session,
            entropy: Environment::tokio(),
            acknowledged: BTreeMap::new(),
            report: Report::default(),
        })
    }

    /// Stores a few songs, a playlist of many pages, tags and a play count, and lists them.
    async fn first_songs(&mut self) -> Result<(), Error> {
        let playlist = self.new_id();
        for (title, album, artist) in SONGS {
            let id = self.new_id();
            self.write_song(id, title, album, artist).await?;
            self.session
                .query("UPDATE songs_app.plays SET count = count + 1 WHERE song_id = ?")
                .bind((id,))
                .execute()
                .await?;
            self.session
                .query("UPDATE songs_app.songs SET tags = tags + {'classic'} WHERE id = ?")
                .bind((id,))
                .idempotent(true)
                .execute()
                .await?;
            self.report.writes += 2;
        }
        for chunk in 0..10_i32 {
            let mut batch = self.session.batch(BatchType::Unlogged).idempotent(true);
            for order in chunk * 10..(chunk + 1) * 10 {
                let song = usize::try_from(order).unwrap_or(0) % SONGS.len();
                let (title, album, artist) = SONGS[song];
                batch = batch.push(&self.insert_entry, (playlist, order, playlist, title, album, artist));
            }
            batch.execute().await?;
            self.report.writes += 1;
        }
        let mut listed = 0;
        let mut pages = self.session.query(&self.select_playlist).bind((playlist,)).page_size(15).pages();
        while let Some(page) = pages.next().await? {
            for row in page.rows::<(i32, &str, &str)>()? {
                let (order, title, artist) = row?;
                if order < 3 {
                    println!("  {order:>3}  {title} ({artist})");
                }
                listed += 1;
            }
            self.report.reads += 1;
        }
        println!("listed {listed} playlist entries");
        if listed != 100 {
            self.report.lost += 100 - listed;
        }
        Ok(())
    }

    /// Writes and reads songs until the time is over; errors are printed and counted, not fatal.
    async fn keep_writing(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        let mut number = 0_u64;
        while Instant::now() < end {
            number += 1;
            let id = self.new_id();
            if let Err(error) = self.write_song(id, &format!("song {number}"), "endless", "nobody").await {
                self.count_error("write", &error);
            }
            let known = self.acknowledged.range(id..).next().or_else(|| self.acknowledged.iter().next());
            if let Some((known, title)) = known.map(|(known, title)| (*known, title.clone())) {
                self.check_song(known, &title).await;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads back every acknowledged song.
    async fn verify(&mut self) {
        for (id, title) in self.acknowledged.clone() {
            self.check_song(id, &title).await;
        }
    }

    async fn write_song(&mut self, id: Uuid, title: &str, album: &str, artist: &str) -> Result<(), Error> {
        let tags: Vec<&str> = vec!["new"];
        self.session
            .query(&self.insert_song)
            .bind((id, title, album, artist, tags, &b"\x01\x02"[..]))
            .idempotent(true)
            .execute()
            .await?;
        self.report.writes += 1;
        self.acknowledged.insert(id, title.to_owned());
        Ok(())
    }

    async fn check_song(&mut self, id: Uuid, title: &str) {
        let read = self.session.query(&self.select_song).bind((id,)).idempotent(true).optional::<(String,)>().await;
        match read {
            Ok(Some((stored,))) if stored == title => self.report.reads += 1,
            Ok(other) => {
                eprintln!("song {id}: {title:?} was acknowledged, {other:?} was read");
                self.report.lost += 1;
            }
            Err(error) => self.count_error("read", &error),
        }
    }

    fn count_error(&mut self, what: &str, error: &Error) {
        eprintln!("{what}: {}", describe(error));
        self.report.errors += 1;
    }

    /// A random (version 4) UUID.
    fn new_id(&self) -> Uuid {
        let draw = || self.entropy.entropy.draw("song id");
        let random = (u128::from(draw()) << 64) | u128::from(draw());
        uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid()
    }
}

fn describe(error: &Error) -> String {
    let mut text = format!("{error} [{:?}]", error.certainty());
    for attempt in error.attempts() {
        text.push_str(&format!("\n    {} after {:?}: {}", attempt.address, attempt.elapsed, attempt.outcome));
    }
    text
}

const SONGS: [(&str, &str, &str); 3] = [
    ("La Petite Tonkinoise", "Bye Bye Blackbird", "Joséphine Baker"),
    ("Die Mösch", "In Gold", "Willi Ostermann"),
    ("Memo From Turner", "Performance", "Mick Jagger"),
];
