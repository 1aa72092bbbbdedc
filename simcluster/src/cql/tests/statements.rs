//! Statements that write and change the schema, each mechanism by a few examples that a real Cassandra 5.0.8 answered.

use super::*;

fn table() -> Lab {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k int, c int, v int, s int static, l list<int>, m map<int, int>, PRIMARY KEY (k, c))");
    lab
}

#[test]
fn a_refused_transaction_shows_what_was_read_and_no_more() {
    let mut lab = table();
    lab.run("INSERT INTO t (k, c, v, s) VALUES (1, 1, 5, 9)");
    // Only regular columns are written: the static one is not read.
    assert_eq!(lab.rows("INSERT INTO t (k, c, v) VALUES (1, 1, 6) IF NOT EXISTS"), ["false,1,1,null,null,null,5"]);
    // Only static ones are written: the first row shows that the partition is there.
    assert_eq!(lab.rows("INSERT INTO t (k, s) VALUES (1, 6) IF NOT EXISTS"), ["false,1,1,9,null,null,null"]);
    assert_eq!(lab.rows("UPDATE t SET v = 1 WHERE k = 1 AND c = 2 IF EXISTS"), ["false"]);
    // Regular columns come before static ones, whatever the text says.
    assert_eq!(lab.rows("UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF s = 8 AND v = 5"), ["false,5,9"]);
}

#[test]
fn a_batch_of_transactions_shows_every_row_with_a_condition_that_is_there() {
    let mut lab = table();
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 1, 5)");
    let batch = "BEGIN BATCH INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; INSERT INTO t (k, c) VALUES (1, 2) IF NOT EXISTS; APPLY BATCH";
    assert_eq!(lab.rows(batch), ["false,1,1,null,null,null,5"]);
    let mixed = "BEGIN BATCH INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; UPDATE t SET v = 5 WHERE k = 1 AND c = 1 IF v = 1; APPLY BATCH";
    assert_eq!(lab.refused(mixed), "Cannot mix IF conditions and IF NOT EXISTS for the same row");
    let mixed = "BEGIN BATCH INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; UPDATE t SET v = 5 WHERE k = 1 AND c = 1 IF EXISTS; APPLY BATCH";
    assert_eq!(lab.refused(mixed), "Cannot mix IF EXISTS and IF NOT EXISTS conditions for the same row");
}

#[test]
fn deletions_of_a_transaction_spare_what_it_inserts() {
    let mut lab = table();
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 1, 5)");
    let batch =
        "BEGIN BATCH INSERT INTO t (k, c, v) VALUES (1, 2, 6) IF NOT EXISTS; DELETE FROM t WHERE k = 1; APPLY BATCH";
    assert_eq!(lab.rows(batch), ["true"]);
    assert_eq!(lab.rows("SELECT c, v FROM t WHERE k = 1"), ["2,6"]);
}

#[test]
fn conditions_of_collections_compare_contain_and_refuse_nothing_as_a_bound() {
    let mut lab = table();
    lab.run("INSERT INTO t (k, c, l, m) VALUES (1, 1, [1, 2], {3: 4})");
    let mut set =
        |condition: &str| lab.rows(&format!("UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF {condition}"))[0].clone();
    for condition in ["l CONTAINS 2", "m CONTAINS KEY 3", "m CONTAINS 4", "l > [1]", "m[3] = 4", "l[1] IN (2, 3)"] {
        assert_eq!(set(condition), "true", "{condition}");
    }
    for condition in ["l CONTAINS 3", "m CONTAINS KEY 4", "l = []", "l[5] = 1"] {
        assert!(set(condition).starts_with("false"), "{condition}");
    }
    for (condition, message) in [
        ("l < []", "Invalid comparison with an empty list for operator \"<\""),
        ("m >= {}", "Invalid comparison with an empty map for operator \">=\""),
        ("l CONTAINS null", "Invalid comparison with null for operator \"CONTAINS\""),
        ("l[-1] = 1", "Invalid negative list index -1"),
        ("m[null] = 1", "Invalid null value for map element access"),
        ("v CONTAINS 1", "Cannot use CONTAINS on non-collection column v"),
    ] {
        assert_eq!(lab.refused(&format!("UPDATE t SET v = 1 WHERE k = 1 AND c = 1 IF {condition}")), message);
    }
}

#[test]
fn transactions_name_their_rows_one_by_one() {
    let mut lab = table();
    for (text, message) in [
        (
            "UPDATE t SET v = 1 WHERE k = 1 AND c IN (1, 2) IF EXISTS",
            "IN on the clustering key columns is not supported with conditional updates",
        ),
        (
            "DELETE FROM t WHERE k IN (1, 2) AND c = 1 IF EXISTS",
            "IN on the partition key is not supported with conditional deletions",
        ),
        (
            "DELETE FROM t WHERE k = 1 IF EXISTS",
            "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to delete non static columns",
        ),
    ] {
        assert_eq!(lab.refused(text), message);
    }
}

#[test]
fn a_batch_has_one_timestamp_and_no_counters_among_others() {
    let mut lab = table();
    lab.run("CREATE TABLE n (k int PRIMARY KEY, n counter)");
    for (text, message) in [
        (
            "BEGIN BATCH USING TIMESTAMP 5 INSERT INTO t (k, c) VALUES (1, 1) USING TIMESTAMP 6; APPLY BATCH",
            "Timestamp must be set either on BATCH or individual statements",
        ),
        (
            "BEGIN BATCH INSERT INTO t (k, c) VALUES (1, 1); UPDATE n SET n = n + 1 WHERE k = 1; APPLY BATCH",
            "Counter and non-counter mutations cannot exist in the same batch",
        ),
        (
            "BEGIN BATCH UPDATE n SET n = n + 1 WHERE k = 1; APPLY BATCH",
            "Cannot include a counter statement in a logged batch",
        ),
    ] {
        assert_eq!(lab.refused(text), message);
    }
}

#[test]
fn a_dropped_column_comes_back_empty_and_only_as_what_it_was() {
    let mut lab = table();
    lab.run("INSERT INTO t (k, c, v, s) VALUES (1, 1, 5, 9)");
    lab.run("ALTER TABLE t DROP (v, s)");
    assert_eq!(
        lab.refused("ALTER TABLE t ADD v text"),
        "Cannot add a column 'v' of type text, incompatible with previously dropped column 'v' of type int"
    );
    assert_eq!(
        lab.refused("ALTER TABLE t ADD s int"),
        "Cannot re-add previously dropped column 's' of kind REGULAR, incompatible with previous kind STATIC"
    );
    lab.run("ALTER TABLE t ADD v int");
    assert_eq!(lab.rows("SELECT v FROM t"), ["null"]);
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 1, 6)");
    assert_eq!(lab.rows("SELECT v FROM t"), ["6"]);
}

#[test]
fn nothing_expires_after_january_of_2038() {
    let mut lab = table();
    assert!(lab.refused("INSERT INTO t (k, c) VALUES (1, 1) USING TTL 630720000").starts_with(
        "Request on table k.t with ttl of 630720000 seconds exceeds maximum supported expiration date of 2038-01-19T03:14:06+00:00."
    ));
    lab.run("INSERT INTO t (k, c) VALUES (1, 1) USING TTL 1000");
}

#[test]
fn the_last_marker_of_a_key_column_routes() {
    let lab = table();
    let markers = |text: &str| prepare(&lab.schema, Some("k"), text).expect(text).partition_key_markers;
    assert_eq!(markers("SELECT * FROM t WHERE k IN (?, ?)"), [1]);
    assert_eq!(markers("SELECT * FROM t WHERE k IN ?"), Vec::<u16>::new());
    let batch = "BEGIN BATCH UPDATE t SET s = ? WHERE k = ?; DELETE FROM t WHERE k = ?; APPLY BATCH";
    assert_eq!(markers(batch), [2]);
}

#[test]
fn a_replication_factor_stands_for_the_data_centres_that_are_not_named() {
    let mut lab = Lab::new();
    let network = "'class': 'NetworkTopologyStrategy'";
    lab.run(&format!("CREATE KEYSPACE a WITH replication = {{{network}, 'replication_factor': 2}}"));
    let options = lab.schema.keyspaces["a"].replication.clone();
    assert_eq!(options.get("datacenter1").map(String::as_str), Some("2"));
    assert_eq!(options.len(), 2);
    assert_eq!(
        lab.refused(&format!("CREATE KEYSPACE b WITH replication = {{{network}, 'elsewhere': 1}}")),
        "Unrecognized strategy option {elsewhere} passed to NetworkTopologyStrategy for keyspace b"
    );
}

/// The rows of every page of this size.
fn pages(lab: &mut Lab, text: &str, size: u32) -> Vec<Vec<String>> {
    let (mut pages, mut state) = (Vec::new(), None);
    loop {
        let options = BindOptions { page_size: Some(size), paging_state: state, ..lab.options() };
        let action = prepare(&lab.schema, Some("k"), text).expect(text).bind(&lab.schema, &[], &options).expect(text);
        let Ok(Answer::Rows(rows)) = lab.carry_out(action) else { panic!("{text}") };
        pages.push(shown(&rows));
        state = rows.paging_state;
        if state.is_none() {
            return pages;
        }
    }
}

#[test]
fn a_partition_that_has_given_all_its_rows_promises_no_page_more() {
    let mut lab = table();
    lab.run("CREATE TABLE o (k int PRIMARY KEY, v int)");
    lab.run("INSERT INTO o (k, v) VALUES (1, 1)");
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 1, 1)");
    lab.run("INSERT INTO t (k, c, v) VALUES (1, 2, 2)");
    assert_eq!(pages(&mut lab, "SELECT v FROM o WHERE k = 1", 1), [["1"]]);
    assert_eq!(pages(&mut lab, "SELECT v FROM t WHERE k = 1 PER PARTITION LIMIT 2", 1), [["1"], ["2"]]);
    // Without a limit, nobody knows whether a third row would come.
    assert_eq!(pages(&mut lab, "SELECT v FROM t WHERE k = 1", 2), [vec!["1", "2"], vec![]]);
}

#[test]
fn a_statement_that_sets_a_column_twice_is_a_syntax_error_before_anything_else() {
    let mut lab = table();
    let twice = "Multiple incompatible setting of column v";
    assert_eq!(lab.refused("UPDATE t SET v = 1, v = nosuch() WHERE k = 1"), twice);
    // Elements may be set together.
    lab.run("UPDATE t SET m[1] = 1, m[2] = 2 WHERE k = 1 AND c = 1");
}

#[test]
fn keys_are_looked_at_before_rows_and_rows_that_cannot_be_before_keys() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE t (k text, c int, v int, PRIMARY KEY (k, c))");
    assert_eq!(lab.refused("DELETE v FROM t WHERE c = null AND k = ''"), "Key may not be empty");
    assert_eq!(lab.refused("SELECT v FROM t WHERE k = '' AND c = 1"), "Key may not be empty");
    assert_eq!(lab.rows("SELECT v FROM t WHERE k = '' AND c > 2 AND c < 1"), Vec::<String>::new());
}

#[test]
fn the_first_statement_of_another_partition_ends_a_conditional_batch() {
    let mut lab = table();
    let batch = "BEGIN BATCH INSERT INTO t (k, c) VALUES (1, 1) IF NOT EXISTS; INSERT INTO t (k, c) VALUES (2, 1); INSERT INTO t (k, c) VALUES (null, 1); APPLY BATCH";
    assert_eq!(lab.refused(batch), "Batch with conditions cannot span multiple partitions");
}

#[test]
fn what_is_wrong_with_where_is_said_before_what_is_wrong_with_selectors_unless_the_table_has_statics() {
    let mut lab = table();
    assert!(lab.refused("SELECT nosuch FROM t WHERE v = 1").starts_with("Undefined column name nosuch"));
    assert!(lab.refused("SELECT sum(m) FROM t WHERE v = 1").starts_with("Invalid call to function sum"));
    // Once a static and another column are found, nobody looks further.
    assert!(lab.refused("SELECT s, v, sum(m) FROM t WHERE v = 1").starts_with("Cannot execute this query as it might"));
    lab.run("CREATE TABLE plain (k int PRIMARY KEY, v int, m map<int, int>)");
    for selector in ["nosuch", "sum(m)"] {
        let refusal = lab.refused(&format!("SELECT {selector} FROM plain WHERE v = 1"));
        assert!(refusal.starts_with("Cannot execute this query as it might"), "{selector}");
    }
}

#[test]
fn the_partitions_of_a_batch_are_found_before_the_rows_of_its_statements() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE u (k text, c int, v int, PRIMARY KEY (k, c))");
    let batch = "BEGIN BATCH INSERT INTO u (k, c) VALUES ('a', null); INSERT INTO u (k, c) VALUES ('', 1); APPLY BATCH";
    assert_eq!(lab.refused(batch), "Key may not be empty");
    assert_eq!(lab.refused("INSERT INTO u JSON '{\"k\": \"\", \"c\": null}'"), "Key may not be empty");
}

#[test]
fn json_that_is_written_out_is_read_before_the_statements_after_it() {
    let mut lab = table();
    let batch = "BEGIN BATCH INSERT INTO t JSON '{\"k\": 1, \"nosuch\": 2}'; INSERT INTO t (k, c, nosuch) VALUES (1, 1, 1); APPLY BATCH";
    assert_eq!(lab.refused(batch), "JSON values map contains unrecognized column: nosuch");
}

#[test]
fn a_transaction_refuses_in_before_it_asks_for_the_values_of_rows() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE u (k int, c int, d int, v int, PRIMARY KEY (k, c, d))");
    assert_eq!(
        lab.refused("DELETE v FROM u WHERE k = 1 AND c IN (1, 2) AND d = null IF EXISTS"),
        "IN on the clustering key columns is not supported with conditional deletions"
    );
    let batch = "BEGIN BATCH INSERT INTO u (k, c, d) VALUES (1, 1, 1); UPDATE u SET v = 1 WHERE k = 2 AND c = null AND d = 1 IF v = 1; APPLY BATCH";
    assert_eq!(lab.refused(batch), "Batch with conditions cannot span multiple partitions");
}

#[test]
fn what_is_prepended_comes_before_all_that_was_prepended_earlier_whatever_its_timestamp() {
    let mut lab = table();
    let prepend = |value: u8| format!("UPDATE t USING TIMESTAMP 5 SET l = [{value}, 0] + l WHERE k = 1 AND c = 1; ");
    lab.run(&format!("BEGIN BATCH {}{}APPLY BATCH", prepend(1), prepend(2)));
    lab.run("UPDATE t USING TIMESTAMP 2 SET l = l + [7] WHERE k = 1 AND c = 1");
    lab.run("UPDATE t USING TIMESTAMP 1 SET l = [3] + l WHERE k = 1 AND c = 1");
    assert_eq!(lab.rows("SELECT to_json(l) FROM t"), ["[3, 2, 0, 1, 0, 7]"]);
}

#[test]
fn an_element_may_be_set_that_the_same_statement_adds() {
    let mut lab = table();
    lab.run("UPDATE t SET l = [5, 6] + l, l[0] = 7 WHERE k = 1 AND c = 1");
    assert_eq!(lab.rows("SELECT to_json(l) FROM t"), ["[7, 6]"]);
    let late = "UPDATE t SET l = [5] + l, l[3] = 7 WHERE k = 1 AND c = 2";
    assert_eq!(lab.refused(late), "List index 3 out of bound, list has size 1");
}

#[test]
fn boolean_constants_in_parentheses_are_no_types() {
    let mut lab = Lab::new();
    lab.run("CREATE TABLE u (k int, c boolean, PRIMARY KEY (k, c))");
    lab.run("INSERT INTO u (k, c) VALUES (1, false)");
    assert_eq!(lab.rows("SELECT c FROM u WHERE k = 1 AND (c) <= (false) GROUP BY k LIMIT 1"), ["false"]);
}

#[test]
fn an_index_on_a_missing_table_names_it_without_its_keyspace() {
    assert_eq!(Lab::new().refused("CREATE INDEX i ON nosuch (v)"), "Table 'nosuch' doesn't exist");
}
