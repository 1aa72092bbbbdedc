//! The clients: what each needs, how it is prepared and how it is run.

use super::world::Cluster;
use crate::cassandra::output_of;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A driver of others, with a program that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// The getting-started tutorial with the Python driver.
    Python,
    /// A tour of cqlsh: DESCRIBE, COPY, paging, tracing, errors.
    Cqlsh,
    /// A program on the Java driver 4.
    Java,
}

/// What a client printed, and whether it was content.
pub struct Output {
    /// Standard output and error, in the order in which they were written.
    pub text: String,
    /// The sentence of what went wrong, if its exit status says so.
    pub verdict: Result<(), String>,
}

/// Pinned: another release may print something else.
const PYTHON_PACKAGES: [&str; 2] = ["cassandra-driver==3.30.1", "cqlsh==6.2.2"];
const POLL: Duration = Duration::from_millis(100);
/// Five minutes: the slowest takes about 15 s.
const POLLS_MAX: u32 = 3000;

impl Client {
    /// In the order in which they run.
    pub const ALL: [Self; 3] = [Self::Python, Self::Cqlsh, Self::Java];

    /// Its name on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Cqlsh => "cqlsh",
            Self::Java => "java",
        }
    }

    /// Installs or builds what it needs under `folder`; the error is the sentence of what is missing.
    pub fn prepare(self, root: &Path, folder: &Path) -> Result<(), String> {
        match self {
            Self::Python | Self::Cqlsh => install_python_packages(folder),
            Self::Java => build_java(root, folder),
        }
    }

    /// Runs it to its end against a cluster.
    pub fn run(self, root: &Path, folder: &Path, cluster: &Cluster) -> Result<Output, String> {
        let sources = root.join("sim-tests").join("clients");
        let scratch = folder.join("scratch");
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).map_err(|e| format!("cannot create {}: {e}", scratch.display()))?;
        let port = cluster.port.to_string();
        let mut command = Command::new(match self {
            Self::Python => venv(folder).join("bin/python"),
            Self::Cqlsh => venv(folder).join("bin/cqlsh"),
            Self::Java => PathBuf::from("java"),
        });
        let nodes = cluster.nodes.to_string();
        match self {
            Self::Python => {
                command.arg(sources.join("python/tutorial.py"));
                command.args(["127.0.0.1", "--port", &port, "--nodes", &nodes])
            }
            Self::Cqlsh => {
                let tour = "tour.cql";
                std::fs::copy(sources.join("cqlsh").join(tour), scratch.join(tour))
                    .map_err(|e| format!("cannot copy {tour}: {e}"))?;
                command.args(["127.0.0.1", &port, "-f", tour])
            }
            Self::Java => {
                let built = folder.join("java");
                let path = format!("{}:{}/*", built.join("classes").display(), built.join("dependency").display());
                command.args(["-cp", &path, "clients.Tutorial", "127.0.0.1", &port, cluster.datacenter, &nodes])
            }
        };
        command.current_dir(&scratch).env("PYTHONUNBUFFERED", "1");
        captured(command, &folder.join("output.txt"), self)
    }
}

/// Both streams into one file, so that their order is kept.
fn captured(mut command: Command, path: &Path, client: Client) -> Result<Output, String> {
    let cannot = |e: std::io::Error| format!("cannot run {}: {e}", client.name());
    let output = std::fs::File::create(path).map_err(cannot)?;
    // The Java driver's libraries warn about the machine on standard error; the others' errors belong to the transcript.
    let errors = if client == Client::Java { Stdio::null() } else { output.try_clone().map_err(cannot)?.into() };
    let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(cannot)?;
    let status = ended(child).map_err(cannot)?;
    let text = String::from_utf8_lossy(&std::fs::read(path).map_err(cannot)?).into_owned();
    let failures: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).take(3).collect();
    // cqlsh ends with 2 after a script in which a statement was refused; the tour has some refused on purpose.
    let content = status.is_some_and(|s| s.success() || client == Client::Cqlsh && s.code() == Some(2));
    let verdict = match status {
        None => Err("did not end within five minutes".to_string()),
        _ if content => Ok(()),
        Some(status) if failures.is_empty() => Err(format!("{status}: {}", text.lines().last().unwrap_or("no output"))),
        _ => Err(failures.join("; ")),
    };
    Ok(Output { text, verdict })
}

/// Waits for a program; one that hangs is ended and gives nothing.
fn ended(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    for _ in 0..POLLS_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    child.kill()?;
    child.wait().map(|_| None)
}

fn venv(folder: &Path) -> PathBuf {
    folder.join("venv")
}

fn install_python_packages(folder: &Path) -> Result<(), String> {
    let marker = venv(folder).join(PYTHON_PACKAGES.join(" "));
    if marker.exists() {
        return Ok(());
    }
    output_of("python3", &["--version"]).ok_or("no `python3` found: install Python 3 with its venv module")?;
    println!("installing {} …", PYTHON_PACKAGES.join(" and "));
    finished(Command::new("python3").args(["-m", "venv"]).arg(venv(folder)), "create a Python environment")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    finished(Command::new(venv(folder).join("bin/python")).args(install).args(PYTHON_PACKAGES), "install them")?;
    std::fs::write(&marker, "").map_err(|e| format!("cannot write {}: {e}", marker.display()))
}

fn build_java(root: &Path, folder: &Path) -> Result<(), String> {
    output_of("javac", &["-version"]).ok_or("no `javac` found: install a JDK, 11 or newer")?;
    output_of("mvn", &["-version"]).ok_or("no `mvn` found: install Maven, which downloads the Java driver")?;
    println!("building the Java client …");
    let pom = root.join("sim-tests/clients/java/pom.xml");
    let into = format!("-Dinto={}", folder.join("java").display());
    finished(Command::new("mvn").args(["-B", "-q", "-f"]).arg(pom).arg(into).arg("compile"), "build the Java client")
}

fn finished(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot {what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = [output.stdout, output.stderr].concat();
    let last = String::from_utf8_lossy(&errors).lines().rfind(|line| !line.trim().is_empty()).unwrap_or("").to_string();
    Err(format!("cannot {what}: {last}"))
}
