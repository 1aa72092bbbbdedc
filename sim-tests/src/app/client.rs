//! The application's code: sessions, prepared statements, and one function per thing that it does.
//!
//! Only the driver's public API is used, the way its documentation shows. Each call carries its nonce in the custom
//! payload and answers with the nonces that came back.

use super::outcome::{account_of, describe};
use super::{
    KEYSPACE, album, entry_orders, entry_title, note, numbers_in, operation_of, playlist_id, song_id, tag, title,
};
use crate::history::{AccountRead, Answer, Certainty, EntryRead, Failed, Nonce, SongRead};
use crate::plan::{Action, Level};
use bytes::Bytes;
use helenus::env::Instant;
use helenus::{BatchQuery, Error, PreparedStatement, Query, QueryResult, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The application in one session.
#[derive(Clone)]
pub struct App {
    session: Session,
    add_song: PreparedStatement,
    read_song: PreparedStatement,
    add_tags: PreparedStatement,
    remove_tags: PreparedStatement,
    add_entry: PreparedStatement,
    list_entries: PreparedStatement,
    play: PreparedStatement,
    read_plays: PreparedStatement,
    register: PreparedStatement,
    swap: PreparedStatement,
    read_account: PreparedStatement,
    read_all: PreparedStatement,
    /// The last version of each account that this session has heard of.
    versions: Arc<Mutex<BTreeMap<u32, i32>>>,
}

/// What one call brought, beside its outcome.
#[derive(Clone, Debug)]
pub struct Performed {
    /// What the application was told.
    pub outcome: Result<Answer, Failed>,
    /// The nonce of each response.
    pub mirrored: Vec<Option<Nonce>>,
    /// Rows per page.
    pub pages: Vec<usize>,
    /// The longest wait for one response.
    pub longest_wait: Duration,
}

impl Performed {
    /// A call that the application has given up and dropped: nobody knows what became of it.
    #[must_use]
    pub fn dropped() -> Self {
        let failed = Failed {
            certainty: Certainty::MaybeApplied,
            kind: "Dropped".to_owned(),
            message: "the application dropped the call".to_owned(),
            attempts: 0,
        };
        Self { outcome: Err(failed), mirrored: Vec::new(), pages: Vec::new(), longest_wait: Duration::ZERO }
    }
}

impl App {
    /// Prepares the statements.
    ///
    /// # Errors
    ///
    /// Of the first statement that cannot be prepared.
    pub async fn prepare(session: Session) -> Result<Self, Error> {
        let statement = |text: &str| text.replace("ks.", &format!("{KEYSPACE}."));
        Ok(Self {
            add_song: session
                .prepare(statement("INSERT INTO ks.songs (id, title, album, artist, data) VALUES (?, ?, ?, ?, ?)"))
                .await?,
            read_song: session.prepare(statement("SELECT id, title, album, tags FROM ks.songs WHERE id = ?")).await?,
            add_tags: session.prepare(statement("UPDATE ks.songs SET tags = tags + ? WHERE id = ?")).await?,
            remove_tags: session.prepare(statement("UPDATE ks.songs SET tags = tags - ? WHERE id = ?")).await?,
            add_entry: session
                .prepare(statement("INSERT INTO ks.playlists (id, song_order, title) VALUES (?, ?, ?)"))
                .await?,
            list_entries: session.prepare(statement("SELECT song_order, title FROM ks.playlists WHERE id = ?")).await?,
            play: session.prepare(statement("UPDATE ks.plays SET plays = plays + 1 WHERE song = ?")).await?,
            read_plays: session.prepare(statement("SELECT plays FROM ks.plays WHERE song = ?")).await?,
            register: session
                .prepare(statement("INSERT INTO ks.users (name, operation) VALUES (?, ?) IF NOT EXISTS"))
                .await?,
            swap: session
                .prepare(statement("UPDATE ks.accounts SET version = ?, operation = ? WHERE name = ? IF version = ?"))
                .await?,
            read_account: session
                .prepare(statement("SELECT version, operation FROM ks.accounts WHERE name = ?"))
                .await?,
            read_all: session.prepare(statement("SELECT * FROM ks.songs WHERE id = ?")).await?,
            versions: Arc::default(),
            session,
        })
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The coordinators that a read of `song` would try, in order.
    ///
    /// # Errors
    ///
    /// As a read whose values cannot be bound.
    pub async fn plan_for(&self, song: u32) -> Result<Vec<Uuid>, Error> {
        let explanation = self.session.query(&self.read_song).bind((song_id(song),)).explain().await?;
        Ok(explanation.plan.iter().map(|node| node.host_id).collect())
    }

    fn trip(&self, nonce: Nonce, level: Level) -> Trip {
        let has_payload = self.session.protocol_version() > helenus::ProtocolVersion::V3;
        Trip { nonce, level, has_payload, mirrored: Vec::new(), pages: Vec::new(), longest_wait: Duration::ZERO }
    }

    /// Does what `action` says.
    pub async fn perform(&self, nonce: Nonce, level: Level, action: &Action) -> Performed {
        let mut trip = self.trip(nonce, level);
        let outcome = self.try_perform(&mut trip, action).await.map_err(|error| describe(&error));
        Performed { outcome, mirrored: trip.mirrored, pages: trip.pages, longest_wait: trip.longest_wait }
    }

    async fn try_perform(&self, trip: &mut Trip, action: &Action) -> Result<Answer, Error> {
        match *action {
            Action::AddSong { song } => self.add_song(trip, song).await,
            Action::ReadSong { song } => self.read_song(trip, song).await,
            Action::AddTag { song } => self.change_tag(trip, &self.add_tags, song, operation_of(trip.nonce)).await,
            Action::RemoveTag { song, of } => self.change_tag(trip, &self.remove_tags, song, of).await,
            Action::AppendToPlaylist { playlist, entries } => self.append(trip, playlist, entries).await,
            Action::ListPlaylist { page_size, .. } | Action::ListStatic { page_size, .. } => {
                self.list(trip, super::playlist_key(action).unwrap_or_default(), page_size).await
            }
            Action::Play { song } => self.play(trip, song).await,
            Action::ReadPlays { song } => self.read_plays(trip, song).await,
            Action::Register { user } => self.register(trip, user).await,
            Action::Swap { account } => self.swap(trip, account).await,
            Action::ReadAccount { account } => self.read_account(trip, account).await,
            Action::AddColumn => self.alter(trip, format!("ADD {} text", note(operation_of(trip.nonce)))).await,
            Action::DropColumn { of } => self.alter(trip, format!("DROP {}", note(of))).await,
            Action::WriteNote { song, of } => self.write_note(trip, song, of).await,
            Action::ReadAll { song } => self.read_all(trip, song).await,
            Action::CreateTable => self.create_table(trip).await,
            Action::UseKeyspace { other } => {
                self.session.use_keyspace(super::keyspace_name(other)).await.map(|()| Answer::Written)
            }
            Action::Whereami => self.whereami(trip).await,
            Action::Mistype { song } => self.mistype(trip, song).await,
        }
    }

    async fn add_song(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        let operation = operation_of(trip.nonce);
        // Some rows span several reads of a socket, most do not.
        let data = vec![b'd'; (operation as usize % 5) * 700];
        let values = (song_id(song), title(song, operation), album(operation), format!("artist {song}"), data);
        let query = self.session.query(&self.add_song).bind(values).idempotent(true);
        trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }

    async fn read_song(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        type Row = (Uuid, Option<String>, Option<String>, Option<BTreeSet<String>>);
        let query = self.session.query(&self.read_song).bind((song_id(song),)).idempotent(true);
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        let row = result.rows::<Row>()?.next().transpose()?;
        Ok(Answer::Song(row.map(|(id, title, album, tags)| {
            let title = title.map(|text| numbers_in(&text)).unwrap_or_default();
            SongRead {
                song: Some(title.first().copied().unwrap_or_else(|| super::number_of(id))),
                title_of: title.get(1).copied(),
                album_of: album.and_then(|text| numbers_in(&text).first().copied()),
                tags: tags.into_iter().flatten().flat_map(|tag| numbers_in(&tag)).collect(),
            }
        })))
    }

    async fn change_tag(
        &self,
        trip: &mut Trip,
        statement: &PreparedStatement,
        song: u32,
        of: u32,
    ) -> Result<Answer, Error> {
        let values = (BTreeSet::from([tag(of)]), song_id(song));
        let query = self.session.query(statement).bind(values).idempotent(true);
        trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }

    async fn append(&self, trip: &mut Trip, playlist: u32, entries: u32) -> Result<Answer, Error> {
        let orders = entry_orders(trip.nonce, entries);
        self.insert_entries(trip, playlist, orders).await
    }

    /// Fills a playlist that never changes, fifty entries a batch.
    ///
    /// # Errors
    ///
    /// Of the first batch that failed.
    pub async fn fill(&self, nonce: Nonce, playlist: u32, entries: u32) -> Result<(), Error> {
        let entries = i32::try_from(entries).unwrap_or(i32::MAX);
        for first in (0..entries).step_by(50) {
            let mut trip = self.trip(nonce, Level::All);
            self.insert_entries(&mut trip, playlist, first..entries.min(first + 50)).await?;
        }
        Ok(())
    }

    async fn insert_entries(
        &self,
        trip: &mut Trip,
        playlist: u32,
        mut orders: std::ops::Range<i32>,
    ) -> Result<Answer, Error> {
        let values = |order: i32| (playlist_id(playlist), order, entry_title(playlist, order));
        if orders.len() == 1 {
            let order = orders.next().unwrap_or_default();
            let query = self.session.query(&self.add_entry).bind(values(order)).idempotent(true);
            trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
            return Ok(Answer::Written);
        }
        let mut batch = self.session.batch(helenus::BatchType::Logged);
        for order in orders {
            batch = batch.push(&self.add_entry, values(order));
        }
        let batch = batch.idempotent(true).consistency(trip.level()).marked(trip);
        trip.take(batch.execute()).await?;
        Ok(Answer::Written)
    }

    async fn list(&self, trip: &mut Trip, playlist: u32, page_size: i32) -> Result<Answer, Error> {
        let query = self.session.query(&self.list_entries).bind((playlist_id(playlist),)).idempotent(true);
        let query = query.page_size(page_size).consistency(trip.level()).marked(trip);
        let mut pages = query.pages();
        let mut entries = Vec::new();
        loop {
            let asked = Instant::now();
            let page = pages.next().await;
            trip.waited(asked);
            let Some(page) = page? else { return Ok(Answer::Entries(entries)) };
            trip.mirrored.push(nonce_of(page.custom_payload()));
            let before = entries.len();
            for row in page.rows::<(i32, String)>()? {
                let (order, text) = row?;
                let numbers = numbers_in(&text);
                entries.push(EntryRead {
                    order,
                    playlist: numbers.first().copied().unwrap_or(u32::MAX),
                    named: numbers.get(1).and_then(|named| i32::try_from(*named).ok()).unwrap_or(-1),
                });
            }
            trip.pages.push(entries.len() - before);
        }
    }

    async fn play(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        let query = self.session.query(&self.play).bind((song_id(song),));
        trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }

    async fn read_plays(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        let query = self.session.query(&self.read_plays).bind((song_id(song),)).idempotent(true);
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        let row = result.rows::<(helenus::value::Counter,)>()?.next().transpose()?;
        Ok(Answer::Plays(row.map_or(0, |(plays,)| plays.0)))
    }

    async fn register(&self, trip: &mut Trip, user: u32) -> Result<Answer, Error> {
        let operation = i32::try_from(operation_of(trip.nonce)).unwrap_or(i32::MAX);
        let query = self.session.query(&self.register).bind((super::user_name(user), operation));
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        if result.was_applied() {
            return Ok(Answer::Registered { applied: true, owner: None });
        }
        let row = result.rows::<helenus::value::CqlRow>()?.next().transpose()?;
        let owner = row.map(|row| row.get::<Option<i32>>("operation")).transpose()?.flatten();
        Ok(Answer::Registered { applied: false, owner: owner.and_then(|owner| u32::try_from(owner).ok()) })
    }

    async fn create_table(&self, trip: &mut Trip) -> Result<Answer, Error> {
        let text = format!(
            "CREATE TABLE IF NOT EXISTS {KEYSPACE}.extra_{} (id int PRIMARY KEY, note text)",
            operation_of(trip.nonce)
        );
        let result = trip.take(self.session.query(text).marked(trip).execute()).await?;
        let name = format!("extra_{}", operation_of(trip.nonce));
        let snapshot = self.session.cluster();
        let knows = snapshot.keyspace(KEYSPACE).is_some_and(|keyspace| keyspace.tables.contains_key(name.as_str()));
        Ok(Answer::Changed { agreed: result.is_schema_agreed(), knows })
    }

    /// Creates an account with version 0 before the run begins.
    ///
    /// # Errors
    ///
    /// Of the statement.
    pub async fn open_account(&self, account: u32) -> Result<(), Error> {
        let text = format!("INSERT INTO {KEYSPACE}.accounts (name, version, operation) VALUES (?, 0, 0)");
        let query = self.session.query(text).bind((super::account_name(account),)).idempotent(true);
        query.consistency(helenus::Consistency::All).timestamp(1).execute().await?;
        Ok(())
    }

    async fn swap(&self, trip: &mut Trip, account: u32) -> Result<Answer, Error> {
        let known = |app: &Self| app.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&account).copied();
        let expected = known(self).unwrap_or(0);
        let operation = i32::try_from(operation_of(trip.nonce)).unwrap_or(i32::MAX);
        let values = (expected + 1, operation, super::account_name(account), expected);
        let query = self.session.query(&self.swap).bind(values);
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        let applied = result.was_applied();
        let now = if applied {
            AccountRead { version: expected + 1, operation: operation_of(trip.nonce) }
        } else {
            account_of(result.rows::<helenus::value::CqlRow>()?.next().transpose()?.as_ref())?
        };
        self.learn(account, now.version);
        Ok(Answer::Swapped { applied, expected, now })
    }

    async fn read_account(&self, trip: &mut Trip, account: u32) -> Result<Answer, Error> {
        let query = self.session.query(&self.read_account).bind((super::account_name(account),)).idempotent(true);
        let query = query.consistency(helenus::Consistency::Serial).marked(trip);
        let result = trip.take(query.execute()).await?;
        let read = account_of(result.rows::<helenus::value::CqlRow>()?.next().transpose()?.as_ref())?;
        self.learn(account, read.version);
        Ok(Answer::Account(read))
    }

    fn learn(&self, account: u32, version: i32) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = versions.entry(account).or_insert(version);
        *known = version.max(*known);
    }

    async fn alter(&self, trip: &mut Trip, what: String) -> Result<Answer, Error> {
        let text = format!("ALTER TABLE {KEYSPACE}.songs {what}");
        trip.take(self.session.query(text).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }

    async fn write_note(&self, trip: &mut Trip, song: u32, of: u32) -> Result<Answer, Error> {
        let text = format!("UPDATE {KEYSPACE}.songs SET {} = ? WHERE id = ?", note(of));
        let query = self.session.query(text).bind((note(of), song_id(song))).idempotent(true);
        trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }

    async fn read_all(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        let query = self.session.query(&self.read_all).bind((song_id(song),)).idempotent(true);
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        let columns: Vec<String> = result.columns().iter().map(|column| column.name.to_string()).collect();
        let Some(row) = result.rows::<helenus::value::CqlRow>()?.next().transpose()? else {
            return Ok(Answer::All(Vec::new()));
        };
        let mut texts = Vec::new();
        for name in columns {
            let is_text = matches!(name.as_str(), "title" | "album" | "artist") || name.starts_with("note_");
            if is_text && let Some(text) = row.get::<Option<String>>(&name)? {
                texts.push((name, text));
            }
        }
        Ok(Answer::All(texts))
    }

    async fn whereami(&self, trip: &mut Trip) -> Result<Answer, Error> {
        let query = self.session.query("SELECT name FROM whereami WHERE id = 0").idempotent(true);
        let result = trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        let row = result.rows::<(String,)>()?.next().transpose()?;
        Ok(Answer::Keyspace { other: row.is_some_and(|(name,)| name == super::keyspace_name(true)) })
    }

    async fn mistype(&self, trip: &mut Trip, song: u32) -> Result<Answer, Error> {
        let query = self.session.query(&self.play).bind((format!("song {song}"),));
        trip.take(query.consistency(trip.level()).marked(trip).execute()).await?;
        Ok(Answer::Written)
    }
}

/// One call on its way: what it sends along, what it notes.
struct Trip {
    nonce: Nonce,
    level: Level,
    has_payload: bool,
    mirrored: Vec<Option<Nonce>>,
    pages: Vec<usize>,
    longest_wait: Duration,
}

/// What can carry the name of its call.
trait Marked {
    fn marked(self, trip: &Trip) -> Self;
}

impl<V> Marked for Query<V> {
    fn marked(self, trip: &Trip) -> Self {
        if trip.has_payload { self.custom_payload(trip.payload()) } else { self.timestamp(trip.nonce.to_stamp()) }
    }
}

impl Marked for BatchQuery<'_> {
    fn marked(self, trip: &Trip) -> Self {
        if trip.has_payload { self.custom_payload(trip.payload()) } else { self.timestamp(trip.nonce.to_stamp()) }
    }
}

impl Trip {
    fn level(&self) -> helenus::Consistency {
        match self.level {
            Level::One => helenus::Consistency::One,
            Level::Two => helenus::Consistency::Two,
            Level::Quorum => helenus::Consistency::Quorum,
            Level::LocalQuorum => helenus::Consistency::LocalQuorum,
            Level::All => helenus::Consistency::All,
        }
    }

    fn payload(&self) -> BTreeMap<String, Bytes> {
        BTreeMap::from([(NONCE.to_owned(), Bytes::copy_from_slice(&self.nonce.to_bytes()))])
    }

    /// Waits for the one response of an unpaged call.
    async fn take(&mut self, call: impl Future<Output = Result<QueryResult, Error>>) -> Result<QueryResult, Error> {
        let asked = Instant::now();
        let result = call.await;
        self.waited(asked);
        let result = result?;
        self.mirrored.push(nonce_of(result.custom_payload()));
        Ok(result)
    }

    fn waited(&mut self, asked: Instant) {
        self.longest_wait = self.longest_wait.max(Instant::now().duration_since(asked));
    }
}

/// The key of the custom payload that nodes mirror.
const NONCE: &str = "nonce";

fn nonce_of(payload: &BTreeMap<String, Option<Bytes>>) -> Option<Nonce> {
    Nonce::from_bytes(payload.get(NONCE)?.as_deref()?)
}
