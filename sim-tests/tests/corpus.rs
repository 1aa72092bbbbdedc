//! The simulated cluster answers the corpus as the real Cassandra did when it was recorded.

use sim_tests::corpus;

#[test]
fn no_answer_of_the_corpus_is_worse_than_before() {
    let entries = corpus::load(&corpus::folder(), "").expect("the corpus can be read");
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
