//! Values of every type, there and back.
//!
//! The values are drawn by `proptest` from the stage's seed: the same test sees other values with another seed.

use super::{Needs, Outcome, Stage, subject};
use helenus::value::{
    CqlDate, CqlDecimal, CqlDuration, CqlRow, CqlTime, CqlTimestamp, CqlValue, MaybeUnset, Timeuuid, Unset,
};
use num_bigint::BigInt;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::{BoxedStrategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::net::IpAddr;

/// One test per type, and the list of the other tests of this file.
macro_rules! round_trips {
    (types: { $($name:ident: $cql:literal, $values:expr $(, $needs:expr)?;)* }
     others: { $($other:ident $(: $other_needs:expr)?),* $(,)? }) => {
        $(async fn $name(stage: Stage) -> Outcome {
            round_trip(&stage, $cql, $values).await
        })*
        subject! { "values"; $($name $(: $needs)?,)* $($other $(: $other_needs)?),* }
    };
}

round_trips! {
    types: {
    ascii_values_come_back: "ascii", vec(0_u8..128, 0..60)
        .prop_map(|bytes| CqlValue::Ascii(bytes.into_iter().map(char::from).collect())).boxed();
    bigint_values_come_back: "bigint", any::<i64>().prop_map(CqlValue::Bigint).boxed();
    blob_values_come_back: "blob", vec(any::<u8>(), 0..200).prop_map(CqlValue::Blob).boxed();
    boolean_values_come_back: "boolean", any::<bool>().prop_map(CqlValue::Boolean).boxed();
    date_values_come_back: "date", any::<i32>().prop_map(|days| CqlValue::Date(CqlDate(days))).boxed();
    decimal_values_come_back: "decimal", (integer(), -400..400)
        .prop_map(|(unscaled, scale)| CqlValue::Decimal(CqlDecimal { unscaled, scale })).boxed();
    double_values_come_back: "double", double().prop_map(CqlValue::Double).boxed();
    duration_values_come_back: "duration", duration().prop_map(CqlValue::Duration).boxed();
    float_values_come_back: "float", proptest::num::f32::NORMAL.prop_map(CqlValue::Float).boxed();
    inet_values_come_back: "inet", any::<IpAddr>().prop_map(CqlValue::Inet).boxed();
    int_values_come_back: "int", int().boxed();
    smallint_values_come_back: "smallint", any::<i16>().prop_map(CqlValue::Smallint).boxed();
    text_values_come_back: "text", text().boxed();
    time_values_come_back: "time", (0..86_400_000_000_000_i64)
        .prop_map(|nanoseconds| CqlValue::Time(CqlTime(nanoseconds))).boxed();
    timestamp_values_come_back: "timestamp", any::<i64>()
        .prop_map(|milliseconds| CqlValue::Timestamp(CqlTimestamp(milliseconds))).boxed();
    timeuuid_values_come_back: "timeuuid", (0..4_000_000_000_000_000_i64, any::<u64>())
        .prop_map(|(micros, random)| CqlValue::Timeuuid(Timeuuid::from_unix_micros(micros, random))).boxed();
    tinyint_values_come_back: "tinyint", any::<i8>().prop_map(CqlValue::Tinyint).boxed();
    uuid_values_come_back: "uuid", any::<u128>()
        .prop_map(|bits| CqlValue::Uuid(uuid::Uuid::from_u128(bits))).boxed();
    varint_values_come_back: "varint", integer().prop_map(CqlValue::Varint).boxed();
    lists_come_back: "list<int>", vec(int(), 1..20).prop_map(CqlValue::List).boxed();
    sets_come_back: "set<bigint>", btree_set(any::<i64>(), 1..20)
        .prop_map(|set| CqlValue::Set(set.into_iter().map(CqlValue::Bigint).collect())).boxed();
    maps_come_back: "map<int, text>", map_of(text().boxed()).boxed();
    tuples_come_back: "tuple<int, text, blob>", (int(), proptest::option::of(text()))
        .prop_map(|(first, second)| CqlValue::Tuple(vec![Some(first), second, None])).boxed();
    frozen_collections_in_collections_come_back: "map<int, frozen<list<frozen<set<bigint>>>>>", map_of(
        vec(btree_set(any::<i64>(), 0..5)
            .prop_map(|set| CqlValue::Set(set.into_iter().map(CqlValue::Bigint).collect())), 0..4)
        .prop_map(CqlValue::List).boxed()).boxed();
    tuples_of_collections_come_back: "tuple<frozen<list<text>>, frozen<map<int, int>>>",
        (vec(text(), 0..4), map_of(int().boxed()))
        .prop_map(|(list, map)| CqlValue::Tuple(vec![Some(CqlValue::List(list)), Some(map)])).boxed();
    vectors_of_floats_come_back: "vector<float, 3>", vec(proptest::num::f32::NORMAL, 3)
        .prop_map(|floats| CqlValue::Vector(floats.into_iter().map(CqlValue::Float).collect())).boxed(),
        Needs::PLAIN.since(5, 0);
    vectors_of_texts_come_back: "vector<text, 2>", vec(text(), 2).prop_map(CqlValue::Vector).boxed(),
        Needs::PLAIN.since(5, 0);
    }
    others: {
        user_types_come_back_with_the_fields_left_out_as_nulls,
        nested_user_types_come_back,
        null_deletes_and_unset_leaves_what_was_there,
        empty_texts_and_blobs_are_not_null,
        empty_collections_are_null_unless_they_are_frozen,
        a_value_of_a_megabyte_comes_back,
        a_partition_key_of_64_kilobytes_is_refused,
        keys_of_several_columns_and_types_find_their_row,
        rows_are_read_by_name_whatever_their_order,
    }
}

async fn round_trip(stage: &Stage, cql_type: &str, values: BoxedStrategy<CqlValue>) -> Outcome {
    let session = stage.session().await?;
    session.query(format!("CREATE TABLE t (id int PRIMARY KEY, v {cql_type})")).execute().await?;
    let insert = session.prepare("INSERT INTO t (id, v) VALUES (?, ?)").await?;
    let select = session.prepare("SELECT v FROM t WHERE id = ?").await?;
    for (id, value) in (0..VALUES).zip(drawn(stage.seed(), &values)) {
        session.query(&insert).bind((id, &value)).execute().await?;
        let (read,): (Option<CqlValue>,) = session.query(&select).bind((id,)).one().await?;
        assert_eq!(read.as_ref(), Some(&value));
    }
    Ok(())
}

/// Values drawn from the seed, without end.
fn drawn(seed: u64, values: &BoxedStrategy<CqlValue>) -> impl Iterator<Item = CqlValue> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let values = values.clone();
    std::iter::from_fn(move || values.new_tree(&mut runner).ok().map(|tree| tree.current()))
}

fn int() -> impl Strategy<Value = CqlValue> + Clone {
    any::<i32>().prop_map(CqlValue::Int)
}

fn text() -> impl Strategy<Value = CqlValue> + Clone {
    vec(any::<char>(), 0..40).prop_map(|chars| CqlValue::Text(chars.into_iter().collect()))
}

fn double() -> impl Strategy<Value = f64> {
    proptest::prop_oneof![
        proptest::num::f64::NORMAL,
        proptest::num::f64::SUBNORMAL,
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(0.0)
    ]
}

fn integer() -> impl Strategy<Value = BigInt> {
    vec(any::<u8>(), 1..30).prop_map(|bytes| BigInt::from_signed_bytes_be(&bytes))
}

/// All three parts have one sign.
fn duration() -> impl Strategy<Value = CqlDuration> {
    (0..=i32::MAX, 0..=i32::MAX, 0..=i64::MAX, any::<bool>()).prop_map(|(months, days, nanoseconds, is_negative)| {
        match is_negative {
            true => CqlDuration { months: -months, days: -days, nanoseconds: -nanoseconds },
            false => CqlDuration { months, days, nanoseconds },
        }
    })
}

fn map_of(values: BoxedStrategy<CqlValue>) -> impl Strategy<Value = CqlValue> {
    btree_map(any::<i32>(), values, 1..8)
        .prop_map(|map| CqlValue::Map(map.into_iter().map(|(key, value)| (CqlValue::Int(key), value)).collect()))
}

async fn user_types_come_back_with_the_fields_left_out_as_nulls(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TYPE address (street text, number int, floor int)").execute().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, home address)").execute().await?;
    let home = |floor: Option<i32>| {
        let mut fields = vec![
            ("street".to_owned(), Some(CqlValue::Text("Main".to_owned()))),
            ("number".to_owned(), Some(CqlValue::Int(7))),
        ];
        fields.push(("floor".to_owned(), floor.map(CqlValue::Int)));
        CqlValue::UserDefined(fields)
    };
    let CqlValue::UserDefined(mut given) = home(None) else { unreachable!("it was made just now") };
    given.truncate(2);
    let insert = session.prepare("INSERT INTO t (id, home) VALUES (?, ?)").await?;
    session.query(&insert).bind((1, CqlValue::UserDefined(given))).execute().await?;
    session.query(&insert).bind((2, home(Some(3)))).execute().await?;
    for (id, expected) in [(1, home(None)), (2, home(Some(3)))] {
        let (read,): (CqlValue,) = session.query("SELECT home FROM t WHERE id = ?").bind((id,)).one().await?;
        assert_eq!(read, expected);
    }
    Ok(())
}

async fn nested_user_types_come_back(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TYPE part (name text, sizes list<int>)").execute().await?;
    session.query("CREATE TYPE whole (parts list<frozen<part>>, best frozen<part>)").execute().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, v frozen<whole>)").execute().await?;
    let part = |name: &str| {
        CqlValue::UserDefined(vec![
            ("name".to_owned(), Some(CqlValue::Text(name.to_owned()))),
            ("sizes".to_owned(), Some(CqlValue::List(vec![CqlValue::Int(1), CqlValue::Int(2)]))),
        ])
    };
    let whole = CqlValue::UserDefined(vec![
        ("parts".to_owned(), Some(CqlValue::List(vec![part("a"), part("b")]))),
        ("best".to_owned(), Some(part("b"))),
    ]);
    session.query("INSERT INTO t (id, v) VALUES (1, ?)").bind((&whole,)).execute().await?;
    let (read,): (CqlValue,) = session.query("SELECT v FROM t WHERE id = 1").one().await?;
    assert_eq!(read, whole);
    Ok(())
}

async fn null_deletes_and_unset_leaves_what_was_there(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, a int, b int)").execute().await?;
    let insert = session.prepare("INSERT INTO t (id, a, b) VALUES (?, ?, ?)").await?;
    session.query(&insert).bind((1, 10, 20)).execute().await?;
    session.query(&insert).bind((1, Option::<i32>::None, Unset)).execute().await?;
    let read = async || session.query("SELECT a, b FROM t WHERE id = 1").one::<(Option<i32>, Option<i32>)>().await;
    assert_eq!(read().await?, (None, Some(20)));
    session.query(&insert).bind((1, MaybeUnset::Set(11), MaybeUnset::<i32>::Unset)).execute().await?;
    assert_eq!(read().await?, (Some(11), Some(20)));
    Ok(())
}

async fn empty_texts_and_blobs_are_not_null(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, a text, b blob, c text)").execute().await?;
    let bytes: &[u8] = &[];
    let none = Option::<String>::None;
    session.query("INSERT INTO t (id, a, b, c) VALUES (1, ?, ?, ?)").bind(("", bytes, none)).execute().await?;
    let row: (Option<String>, Option<Vec<u8>>, Option<String>) =
        session.query("SELECT a, b, c FROM t WHERE id = 1").one().await?;
    assert_eq!(row, (Some(String::new()), Some(Vec::new()), None));
    Ok(())
}

async fn empty_collections_are_null_unless_they_are_frozen(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, a list<int>, b frozen<list<int>>)").execute().await?;
    let nothing = Vec::<i32>::new();
    session.query("INSERT INTO t (id, a, b) VALUES (1, ?, ?)").bind((&nothing, &nothing)).execute().await?;
    let row: (Option<Vec<i32>>, Option<Vec<i32>>) = session.query("SELECT a, b FROM t WHERE id = 1").one().await?;
    assert_eq!(row, (None, Some(Vec::new())));
    Ok(())
}

async fn a_value_of_a_megabyte_comes_back(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, v blob)").execute().await?;
    let large: Vec<u8> = (0..1_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    session.query("INSERT INTO t (id, v) VALUES (1, ?)").bind((&large[..],)).execute().await?;
    let (read,): (Vec<u8>,) = session.query("SELECT v FROM t WHERE id = 1").one().await?;
    assert!(read == large);
    Ok(())
}

async fn a_partition_key_of_64_kilobytes_is_refused(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id blob PRIMARY KEY)").execute().await?;
    let insert = session.prepare("INSERT INTO t (id) VALUES (?)").await?;
    let longest = vec![7_u8; 65_535];
    session.query(&insert).bind((&longest[..],)).execute().await?;
    let too_long = vec![7_u8; 65_536];
    let error = session.query(&insert).bind((&too_long[..],)).execute().await.expect_err("it does not fit");
    assert!(matches!(error.kind(), helenus::ErrorKind::Invalid(_)), "{error}");
    Ok(())
}

async fn keys_of_several_columns_and_types_find_their_row(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session
        .query("CREATE TABLE t (a text, b int, c uuid, d timestamp, v int, PRIMARY KEY ((a, b, c), d))")
        .execute()
        .await?;
    let insert = session.prepare("INSERT INTO t (a, b, c, d, v) VALUES (?, ?, ?, ?, ?)").await?;
    let select = session.prepare("SELECT v FROM t WHERE a = ? AND b = ? AND c = ? AND d = ?").await?;
    for n in 0..20_i32 {
        let key = (format!("key {n}"), n, uuid::Uuid::from_u128(n.unsigned_abs().into()), CqlTimestamp(n.into()));
        session.query(&insert).bind((&key.0, key.1, key.2, key.3, n * 10)).execute().await?;
        let (v,): (i32,) = session.query(&select).bind((&key.0, key.1, key.2, key.3)).one().await?;
        assert_eq!(v, n * 10);
    }
    Ok(())
}

async fn rows_are_read_by_name_whatever_their_order(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, name text, age int)").execute().await?;
    session.query("INSERT INTO t (id, name, age) VALUES (1, 'Ada', 36)").execute().await?;
    for columns in ["id, name, age", "age, id, name", "*"] {
        let row: CqlRow = session.query(format!("SELECT {columns} FROM t")).one().await?;
        assert_eq!(row.get::<String>("name")?, "Ada", "{columns}");
        assert_eq!((row.get::<i32>("id")?, row.get::<i32>("age")?), (1, 36), "{columns}");
    }
    Ok(())
}

/// Values per type.
const VALUES: i32 = 25;
