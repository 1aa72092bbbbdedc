//! Driver and simulated cluster agree with what was recorded from the real Cassandra.

use helenus::topology::Token;
use sim_tests::corpus;
use sim_tests::corpus::tokens::{self, Placed, Shape};

#[test]
fn no_answer_of_the_corpus_is_worse_than_before() {
    let entries = corpus::load_all(&corpus::folder(), "").expect("the corpus can be read");
    let judged = corpus::compare(&entries, 2).unwrap_or_else(|sentences| panic!("{sentences}"));
    let counts = corpus::count(&judged);
    let losses = corpus::losses(&corpus::kept_counts().expect("agreement.toml can be read"), &counts);
    if losses.is_empty() {
        return;
    }
    let wrong: Vec<String> = judged
        .iter()
        .filter(|statement| statement.verdict == corpus::Verdict::Wrong)
        .map(ToString::to_string)
        .collect();
    panic!("{}\n{}\n{}", corpus::table(&counts), losses.join("\n"), wrong.join("\n"));
}

/// Keys of a shape with the tokens that `token_of` gives them, in the order of the ring.
fn placed(shape: &Shape, count: u32, token_of: impl Fn(&[u8]) -> i64) -> Vec<Placed> {
    let place = |key: Vec<Vec<u8>>| {
        let columns: Vec<&[u8]> = key.iter().map(Vec::as_slice).collect();
        let mut joined = Vec::new();
        helenus::topology::compose_routing_key(&columns, &mut joined).expect("no column of these keys is too long");
        Placed { token: token_of(&joined), key }
    };
    let mut placed: Vec<Placed> = shape.keys(count).into_iter().map(place).collect();
    placed.sort();
    placed
}

#[test]
fn driver_and_simulated_cluster_compute_the_tokens_that_cassandra_computed() {
    let recorded = std::fs::read_to_string(tokens::file()).expect("tokens.txt can be read");
    let recorded: Vec<&str> = recorded.lines().filter(|line| !line.starts_with('#')).collect();
    let shapes = tokens::shapes();
    assert_eq!(recorded.len(), shapes.len(), "one line for each shape");
    for (shape, recorded) in shapes.iter().zip(recorded) {
        let by_driver = placed(shape, tokens::KEYS, Token::murmur3_of);
        assert_eq!(tokens::line(shape, &by_driver), recorded, "the driver");
        let by_cluster = placed(shape, tokens::KEYS, |key| simcluster::ring::Token::of_key(key).0);
        assert_eq!(tokens::line(shape, &by_cluster), recorded, "the simulated cluster");
    }
}

#[test]
fn the_simulated_cluster_answers_token_of_every_shape_of_key_as_the_driver_computes_it() {
    for shape in tokens::shapes() {
        let asked = corpus::simulated::tokens(&shape, 100).unwrap_or_else(|sentence| panic!("{sentence}"));
        assert_eq!(asked, placed(&shape, 100, Token::murmur3_of), "{}", shape.name);
    }
}
