//! The files a Cassandra node needs: jars, `cassandra.yaml`, `logback.xml`, rack properties, JVM options.

use super::{RELEASE, ensure_folder};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ring's folder: `lib-RELEASE` with the jars, `nodeN` per node.
pub struct Ring {
    /// `target/cassandra`.
    pub folder: PathBuf,
}

/// Packages of the JDK that Cassandra reaches into, `--add-exports`.
const EXPORTS: &[&str] = &[
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "java.sql/java.sql",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.api",
    "jdk.compiler/com.sun.tools.javac.code",
];

/// The same, `--add-opens`.
const OPENS: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.net",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

/// What a new POM asks Maven for.
const POM: &str = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
    <groupId>local</groupId><artifactId>cassandra-jars</artifactId><version>1</version><dependencies><dependency>\
    <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>${release}</version>\
    </dependency></dependencies></project>";

impl Ring {
    /// Where node `n` keeps everything.
    pub fn node(&self, n: u8) -> PathBuf {
        self.folder.join(format!("node{n}"))
    }

    /// Where the jars are.
    pub fn jars(&self) -> PathBuf {
        self.folder.join(format!("lib-{RELEASE}"))
    }

    /// Downloads the jars unless they are there.
    pub fn fetch(&self) -> Result<(), String> {
        let jars = ensure_folder(&self.jars())?;
        let complete = jars.join(".complete");
        if complete.exists() {
            return Ok(());
        }
        println!("downloading the jars of Cassandra {RELEASE} …");
        write(&self.folder.join("pom.xml"), &POM.replace("${release}", RELEASE))?;
        let status = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(self.folder.join("pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display()))
            .status()
            .map_err(|e| format!("cannot run mvn: {e}"))?;
        if !status.success() {
            return Err(format!(
                "Maven could not download Cassandra {RELEASE} ({status}): is Maven Central reachable?"
            ));
        }
        write(&complete, "")
    }

    /// Writes the configuration of node `n` of a ring of `total`.
    pub fn configure(&self, n: u8, total: u8) -> Result<(), String> {
        let node = self.node(n);
        for part in ["conf", "data", "commitlog", "hints", "saved_caches", "cdc_raw", "logs", "tmp"] {
            ensure_folder(&node.join(part))?;
        }
        write(&node.join("conf/cassandra.yaml"), &yaml(&node, n, total))?;
        write(&node.join("conf/cassandra-rackdc.properties"), "dc=datacenter1\nrack=rack1\n")?;
        let log = node.join("logs/system.log");
        write(
            &node.join("conf/logback.xml"),
            &format!(
                "<configuration><appender name=\"FILE\" class=\"ch.qos.logback.core.FileAppender\"><file>{}</file>\
                 <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder></appender>\
                 <root level=\"INFO\"><appender-ref ref=\"FILE\"/></root></configuration>\n",
                log.display()
            ),
        )
    }

    /// The JVM's arguments for node `n`.
    pub fn jvm_arguments(&self, n: u8) -> Result<Vec<String>, String> {
        let node = self.node(n);
        let jars = self.jars();
        let agent = std::fs::read_dir(&jars)
            .map_err(|e| format!("cannot list {}: {e}", jars.display()))?
            .filter_map(Result::ok)
            .map(|e| e.path())
            .find(|p| p.file_name().is_some_and(|f| f.to_string_lossy().starts_with("jamm-")))
            .ok_or("the jamm jar is missing: delete target/cassandra and try again")?;
        let mut arguments = vec![format!("-javaagent:{}", agent.display())];
        arguments.extend(EXPORTS.iter().map(|p| format!("--add-exports={p}=ALL-UNNAMED")));
        arguments.extend(OPENS.iter().map(|p| format!("--add-opens={p}=ALL-UNNAMED")));
        for option in [
            "-Xms512m",
            "-Xmx512m",
            "-XX:MaxDirectMemorySize=256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+PerfDisableSharedMem",
            "-Djdk.attach.allowAttachSelf=true",
            "-Djava.security.manager=allow",
            "-Djava.net.preferIPv4Stack=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Dcassandra-foreground=yes",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.ring_delay_ms=2000",
            "-Dcassandra.superuser_setup_delay_ms=0",
            "-Dcassandra.available_processors=2",
        ] {
            arguments.push(option.into());
        }
        arguments.push(format!("-Dcassandra.jmx.local.port=7{n}99"));
        arguments.push(format!("-Djava.io.tmpdir={}", node.join("tmp").display()));
        arguments.push(format!("-Dcassandra.storagedir={}", node.display()));
        arguments.push(format!("-Dcassandra.config=file://{}", node.join("conf/cassandra.yaml").display()));
        arguments.push(format!("-Dlogback.configurationFile={}", node.join("conf/logback.xml").display()));
        arguments.push("-cp".into());
        arguments.push(format!("{}:{}/*", node.join("conf").display(), jars.display()));
        arguments.push("org.apache.cassandra.service.CassandraDaemon".into());
        Ok(arguments)
    }
}

/// An even ring without vnodes forms at once, without bootstrapping.
fn initial_token(n: u8, total: u8) -> i64 {
    let step = (1_i128 << 64) / i128::from(total.max(1));
    let token = i128::from(i64::MIN) + step * i128::from(n - 1);
    i64::try_from(token).unwrap_or(i64::MIN)
}

fn yaml(node: &Path, n: u8, total: u8) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}: {value}"); // Writing to a String cannot fail.
    };
    line("cluster_name", "helenus");
    line("num_tokens", "1");
    line("initial_token", &format!("\"{}\"", initial_token(n, total)));
    line("auto_bootstrap", "false");
    line("partitioner", "org.apache.cassandra.dht.Murmur3Partitioner");
    line("endpoint_snitch", "GossipingPropertyFileSnitch");
    line(
        "seed_provider",
        "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: 127.0.0.1}]}]",
    );
    line("listen_address", &format!("127.0.0.{n}"));
    line("rpc_address", &format!("127.0.0.{n}"));
    line("storage_port", "7000");
    line("native_transport_port", "9042");
    line("start_native_transport", "true");
    line("auto_snapshot", "false");
    line("commitlog_sync", "periodic");
    line("commitlog_sync_period", "10000ms");
    line("data_file_directories", &format!("[ \"{}\" ]", node.join("data").display()));
    for (key, folder) in [
        ("commitlog_directory", "commitlog"),
        ("hints_directory", "hints"),
        ("saved_caches_directory", "saved_caches"),
        ("cdc_raw_directory", "cdc_raw"),
    ] {
        line(key, &format!("\"{}\"", node.join(folder).display()));
    }
    for (key, value) in [
        ("user_defined_functions_enabled", "true"),
        ("materialized_views_enabled", "true"),
        ("concurrent_reads", "4"),
        ("concurrent_writes", "4"),
        ("concurrent_counter_writes", "4"),
        ("native_transport_max_threads", "16"),
        ("concurrent_compactors", "1"),
        ("memtable_heap_space", "64MiB"),
        ("memtable_offheap_space", "32MiB"),
        ("file_cache_size", "32MiB"),
        ("key_cache_size", "4MiB"),
        ("commitlog_segment_size", "32MiB"),
        ("commitlog_total_space", "256MiB"),
        ("networking_cache_size", "16MiB"),
    ] {
        line(key, value);
    }
    text
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_ring_of_three_are_even() {
        assert_eq!(initial_token(1, 3), i64::MIN);
        assert_eq!(initial_token(2, 3), -3_074_457_345_618_258_603);
        assert_eq!(initial_token(3, 3), 3_074_457_345_618_258_602);
    }

    #[test]
    fn every_node_listens_on_an_address_of_its_own() {
        let text = yaml(Path::new("node2"), 2, 3);
        assert!(text.contains("rpc_address: 127.0.0.2\n"));
        assert!(text.contains("seeds: 127.0.0.1"));
    }
}
