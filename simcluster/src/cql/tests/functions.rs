//! Which function a call means, what it computes, and what is said when there is none.

use super::*;

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.run(
        "CREATE TABLE t (k int PRIMARY KEY, b bigint, e decimal, d date, ts timestamp, tu timeuuid, s text, o boolean, l list<int>, m map<text, int>, v vector<float, 2>)",
    );
    lab.run(
        "INSERT INTO t (k, b, e, d, ts, tu, s, o, l, m, v) VALUES (7, 11, 1.5, '2024-01-31', '2024-01-31 12:00:00Z', 123e4567-e89b-12d3-a456-426614174000, 'a', true, [3, 1], {'x': 1, 'y': 2}, [1, 2])",
    );
    lab
}

fn columns(lab: &mut Lab, text: &str) -> Vec<String> {
    match lab.run(text) {
        Answer::Rows(rows) => rows.columns.iter().map(|c| format!("{} {}", c.name, c.cql_type)).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn operators_bind_as_in_arithmetic_and_name_their_columns() {
    let mut lab = lab();
    assert_eq!(
        lab.rows("SELECT k + 1 * 2, (k + 1) * 2, k - 1 - 1, k % 4, e / 4, d + 1mo FROM t"),
        ["9,16,5,3,0.375,2024-02-29"]
    );
    assert_eq!(
        columns(&mut lab, "SELECT (k + b) * 2, s + 'b', -k FROM t"),
        ["(k + b) * 2 bigint", "s + 'b' text", "-k int"]
    );
    lab.run("INSERT INTO t (k, b) VALUES (3 - 2, 2147483647 + 1)");
    assert_eq!(lab.rows("SELECT b FROM t WHERE k = 2 - 1"), ["2147483648"]);
    assert_eq!(lab.refused("SELECT k + s FROM t"), "the '+' operation is not supported between k and s");
    assert_eq!(
        lab.refused("SELECT k + null FROM t"),
        "Ambiguous '+' operation with args k and NULL: use type hint to disambiguate, example '(int) ?'"
    );
    match lab.try_run("SELECT k / 0 FROM t") {
        Err(ServerError::FunctionFailure { function, arguments, message, .. }) => {
            assert_eq!((function.as_str(), arguments), ("_divide", vec!["int".to_owned(), "int".to_owned()]));
            assert_eq!(message, "the operation 'int / int' failed: / by zero");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_overload_is_taken_if_it_fits_exactly_or_alone() {
    let mut lab = lab();
    assert_eq!(lab.rows("SELECT to_unix_timestamp(ts), to_unix_timestamp(b) FROM t"), ["1706702400000,11"]);
    assert_eq!(
        lab.refused("SELECT to_date(s) FROM t"),
        "Invalid call to function to_date, none of its type signatures match (known type signatures: system.to_date : (timeuuid) -> date, system.to_date : (timestamp) -> date)"
    );
    assert_eq!(
        lab.refused("SELECT avg(ts) FROM t"),
        "Ambiguous call to function avg (can be matched by following signatures: system.avg : (bigint) -> bigint, system.avg : (varint) -> varint): use type casts to disambiguate"
    );
    assert_eq!(lab.refused("SELECT max(k, b) FROM t"), "Invalid number of arguments for function system.max(any)");
    assert_eq!(lab.refused("SELECT k FROM t WHERE k = unknown()"), "Unknown function unknown called");
    assert_eq!(lab.refused("SELECT unknown(k) FROM t"), "Unknown function 'unknown'");
}

#[test]
fn casts_are_functions_of_the_type_that_is_cast() {
    let mut lab = lab();
    assert_eq!(columns(&mut lab, "SELECT CAST(k AS text), CAST(k AS int) FROM t"), ["cast(k as text) text", "k int"]);
    assert_eq!(lab.refused("SELECT CAST(k AS boolean) FROM t"), "k cannot be cast to boolean");
    assert!(
        lab.refused("SELECT CAST(o AS tinyint) FROM t")
            .starts_with("Invalid call to function system.cast_as_tinyint, none")
    );
}

#[test]
fn a_selected_term_needs_a_type_of_its_own_or_a_place_that_has_one() {
    let mut lab = lab();
    assert_eq!(
        lab.refused("SELECT 5 FROM t"),
        "Cannot infer type for term 5 in selection clause (try using a cast to force a type)"
    );
    assert_eq!(lab.rows("SELECT (bigint) 5, [k, 2], (k, s), int_as_blob(1) FROM t"), ["5,[7, 2],[7, a],0x00000001"]);
    assert_eq!(lab.refused("SELECT (bigint) k FROM t"), "Cannot assign value (bigint)k to (bigint)k of type bigint");
}

#[test]
fn parts_of_maps_and_sets_are_selected_by_key_and_by_range() {
    let mut lab = lab();
    assert_eq!(lab.rows("SELECT m['x'], m[..'z'], m['z'..] FROM t"), ["1,{x: 1, y: 2},null"]);
    assert_eq!(
        lab.rows("SELECT map_keys(m), map_values(m), collection_sum(l), collection_count(m) FROM t"),
        ["[x, y],[1, 2],4,2"]
    );
    assert_eq!(
        lab.refused("SELECT l[0] FROM t"),
        "Element selection is only allowed on sets and maps, but l is a list"
    );
    assert_eq!(
        lab.refused("SELECT map_keys(l) FROM t"),
        "Function system.map_keys requires a map argument, but found argument l of type list<int>"
    );
}

#[test]
fn the_least_timeuuid_is_told_by_the_class_it_is_converted_to() {
    let mut lab = lab();
    assert_eq!(
        columns(&mut lab, "SELECT min(tu), tu FROM t"),
        ["system.min(tu) 'org.apache.cassandra.db.marshal.LegacyTimeUUIDType'", "tu timeuuid"]
    );
}

#[test]
fn vectors_are_compared_only_with_vectors_as_long() {
    let mut lab = lab();
    assert_eq!(lab.rows("SELECT similarity_dot_product(v, [3, 4]) FROM t"), ["6.0"]);
    assert_eq!(
        lab.refused("SELECT similarity_cosine(v, [1, 2, 3]) FROM t"),
        "All arguments must have the same vector dimensions"
    );
}

#[test]
fn a_constant_call_fails_even_where_no_row_is_read() {
    let mut lab = lab();
    assert!(matches!(
        lab.try_run("SELECT (int) 1 / (int) 0 FROM t WHERE k = 99"),
        Err(ServerError::FunctionFailure { .. })
    ));
    assert_eq!(lab.rows("SELECT k / 0 FROM t WHERE k = 99"), [""; 0]);
}

#[test]
fn a_sign_belongs_to_the_number_that_it_touches() {
    let mut lab = lab();
    lab.run("UPDATE t SET l = l + [-5] WHERE k = 7");
    assert_eq!(lab.rows("SELECT l, k - 2 FROM t WHERE k = 7"), ["[3, 1, -5],5"]);
    assert!(lab.refused("SELECT k -2 FROM t").contains("no viable alternative"));
    assert_eq!(lab.refused("SELECT -i FROM t"), "line 1:9 mismatched character ' ' expecting set null");
}
