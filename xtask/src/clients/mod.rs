//! `cargo xtask clients`: programs of other people's drivers, run on the simulated and on a real cluster.
//!
//! Each program prints what it sees and nothing that differs by nature (what does is masked by rule, `transcript`), so
//! that the two transcripts of one program must be the same, line by line. A client whose toolchain is absent is
//! skipped, with the reason. Versions are pinned where the clients live, in `sim-tests/clients`.

mod toolchain;
mod transcript;
mod world;

use crate::exit::{Exit, refuse};
use std::path::{Path, PathBuf};
use toolchain::Client;
use transcript::Transcript;
use world::World;

/// Runs the clients whose toolchain is here, and compares what they saw.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientsArguments {
    /// Only this client; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Client>,
    /// The cluster to run them on; `both` compares the transcripts.
    #[arg(long, value_enum, default_value_t = Against::Both)]
    against: Against,
}

/// Which clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Against {
    Simulated,
    Real,
    Both,
}

impl Against {
    fn worlds(self) -> &'static [World] {
        match self {
            Self::Simulated => &[World::Simulated],
            Self::Real => &[World::Real],
            Self::Both => &[World::Simulated, World::Real],
        }
    }
}

/// Runs them; the closing line counts programs, one per client and cluster, and one comparison per client.
pub fn run(root: &Path, arguments: &ClientsArguments) -> Exit {
    match run_all(root, arguments) {
        Ok(tally) => {
            println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
            if tally.failed == 0 { Exit::Pass } else { Exit::Failed }
        }
        Err(sentence) => refuse(&sentence, Exit::Failed),
    }
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    fn count(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                println!("ok {name}");
                self.passed += 1;
            }
            Err(why) => {
                println!("FAIL {name}: {why}");
                self.failed += 1;
            }
        }
    }

    fn skip(&mut self, name: &str, why: &str) {
        println!("skipped {name}: {why}");
        self.skipped += 1;
    }
}

fn run_all(root: &Path, arguments: &ClientsArguments) -> Result<Tally, String> {
    let folder = root.join("target").join("clients");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let mut tally = Tally::default();
    let clients = prepared(root, &folder, arguments, &mut tally);
    let mut seen: Vec<(World, Client, Transcript)> = Vec::new();
    for &world in arguments.against.worlds() {
        if let Err(missing) = world.available() {
            tally.skip(world.name(), &missing);
            continue;
        }
        let cluster = world.start(root)?;
        for client in &clients {
            let name = format!("{} on the {} cluster", client.name(), world.name());
            match client.run(root, &folder, &cluster) {
                Ok(output) => {
                    let transcript = Transcript::of(*client, &output.text);
                    transcript.write(&transcript_path(&folder, *client, world))?;
                    tally.count(&name, output.verdict);
                    seen.push((world, *client, transcript));
                }
                Err(why) => tally.count(&name, Err(why)),
            }
        }
    }
    compare(&seen, &folder, &mut tally);
    Ok(tally)
}

/// The clients that can run here, with what they need installed or built.
fn prepared(root: &Path, folder: &Path, arguments: &ClientsArguments, tally: &mut Tally) -> Vec<Client> {
    let mut ready = Vec::new();
    for client in Client::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&client) {
            continue;
        }
        match client.prepare(root, folder) {
            Ok(()) => ready.push(client),
            Err(missing) => tally.skip(client.name(), &missing),
        }
    }
    ready
}

fn compare(seen: &[(World, Client, Transcript)], folder: &Path, tally: &mut Tally) {
    for (_, client, simulated) in seen.iter().filter(|(world, ..)| *world == World::Simulated) {
        let real = seen.iter().find(|(world, other, _)| *world == World::Real && other == client);
        let Some((_, _, real)) = real else { continue };
        let outcome = simulated.difference(real).map_or(Ok(()), |difference| {
            let files =
                [World::Simulated, World::Real].map(|w| transcript_path(folder, *client, w).display().to_string());
            Err(format!("{difference}\n  the transcripts are {}", files.join(" and ")))
        });
        tally.count(&format!("{} sees the same on both clusters", client.name()), outcome);
    }
}

fn transcript_path(folder: &Path, client: Client, world: World) -> PathBuf {
    folder.join(format!("{}.{}.txt", client.name(), world.name()))
}
