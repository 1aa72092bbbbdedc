//! The files a Cassandra node needs: jars, `cassandra.yaml`, `logback.xml`, rack properties, JVM options.

use super::ensure_folder;
use super::release::Release;
use super::ring::{Node, Ring};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The JVM's options of every node.
const OPTIONS: &[&str] = &[
    "-Xms512m",
    "-Xmx512m",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+PerfDisableSharedMem",
    // A sixth of a start goes into verifying classes that were released long ago.
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
    "-Djdk.attach.allowAttachSelf=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=2000",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.shutdown_announce_in_ms=500",
    "-Dcassandra.available_processors=2",
];

/// The query handler of the released jar that sends custom payloads back.
const MIRROR: &str =
    "-Dcassandra.custom_query_handler_class=org.apache.cassandra.cql3.CustomPayloadMirroringQueryHandler";

/// Otherwise every schema change flushes a dozen tables on each node.
const UNFLUSHED_SCHEMA: &str = "-Dcassandra.test.flush_local_schema_changes=false";

/// What a new POM asks Maven for.
const POM: &str = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
    <groupId>local</groupId><artifactId>cassandra-jars</artifactId><version>1</version><dependencies><dependency>\
    <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>${release}</version>\
    </dependency></dependencies></project>";

/// The packages that every tool of Cassandra needs opened.
pub fn opened_packages() -> Vec<String> {
    let exports = EXPORTS.iter().map(|p| format!("--add-exports={p}=ALL-UNNAMED"));
    exports.chain(OPENS.iter().map(|p| format!("--add-opens={p}=ALL-UNNAMED"))).collect()
}

impl Ring {
    /// Where the jars are.
    pub fn jars(&self) -> PathBuf {
        self.shared.join(format!("lib-{}", self.settings.release.version()))
    }

    /// Downloads the jars unless they are there.
    pub fn fetch(&self) -> Result<(), String> {
        let jars = ensure_folder(&self.jars())?;
        let complete = jars.join(".complete");
        if complete.exists() {
            return Ok(());
        }
        let version = self.settings.release.version();
        println!("downloading the jars of Cassandra {version} …");
        let pom = self.shared.join(format!("pom-{version}.xml"));
        write(&pom, &POM.replace("${release}", version))?;
        let status = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display()))
            .status()
            .map_err(|e| format!("cannot run mvn: {e}"))?;
        if !status.success() {
            return Err(format!(
                "Maven could not download Cassandra {version} ({status}): is Maven Central reachable?"
            ));
        }
        write(&complete, "")
    }

    /// Writes the configuration of a node.
    pub fn configure(&self, node: &Node) -> Result<(), String> {
        let folder = self.node_folder(node.number);
        for part in ["conf", "data", "commitlog", "hints", "saved_caches", "cdc_raw", "logs", "tmp"] {
            ensure_folder(&folder.join(part))?;
        }
        write(&folder.join("conf/cassandra.yaml"), &self.yaml(node))?;
        let place = format!("dc={}\nrack=rack1\n", node.datacenter);
        write(&folder.join("conf/cassandra-rackdc.properties"), &place)?;
        write(
            &folder.join("conf/logback.xml"),
            &format!(
                "<configuration><appender name=\"FILE\" class=\"ch.qos.logback.core.FileAppender\"><file>{}</file>\
                 <encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder></appender>\
                 <root level=\"INFO\"><appender-ref ref=\"FILE\"/></root></configuration>\n",
                self.log(node.number).display()
            ),
        )
    }

    /// The JVM's arguments for a node.
    pub fn jvm_arguments(&self, node: &Node) -> Result<Vec<String>, String> {
        let folder = self.node_folder(node.number);
        let jars = self.jars();
        let agent = std::fs::read_dir(&jars)
            .map_err(|e| format!("cannot list {}: {e}", jars.display()))?
            .filter_map(Result::ok)
            .map(|e| e.path())
            .find(|p| p.file_name().is_some_and(|f| f.to_string_lossy().starts_with("jamm-")))
            .ok_or("the jamm jar is missing: delete target/cassandra and try again")?;
        let mut arguments = vec![format!("-javaagent:{}", agent.display())];
        arguments.extend(opened_packages());
        arguments.extend(OPTIONS.iter().map(ToString::to_string));
        if self.settings.release.java_version() >= 17 {
            arguments.push("-Djava.security.manager=allow".into());
        }
        if self.settings.mirror_payload {
            arguments.push(MIRROR.into());
        }
        if self.settings.is_fleeting {
            arguments.push(UNFLUSHED_SCHEMA.into());
        }
        arguments.push(format!("-Dcassandra.jmx.local.port={}", node.jmx_port()));
        arguments.push(format!("-Djava.io.tmpdir={}", folder.join("tmp").display()));
        arguments.push(format!("-Dcassandra.storagedir={}", folder.display()));
        arguments.push(format!("-Dcassandra.config=file://{}", folder.join("conf/cassandra.yaml").display()));
        arguments.push(format!("-Dlogback.configurationFile={}", folder.join("conf/logback.xml").display()));
        arguments.push("-cp".into());
        arguments.push(format!("{}:{}/*", folder.join("conf").display(), jars.display()));
        arguments.push("org.apache.cassandra.service.CassandraDaemon".into());
        Ok(arguments)
    }

    fn yaml(&self, node: &Node) -> String {
        let settings = &self.settings;
        let folder = self.node_folder(node.number);
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}: {value}"); // Writing to a String cannot fail.
        };
        line("cluster_name", "helenus");
        line("num_tokens", &settings.vnodes.to_string());
        if settings.vnodes == 1 {
            line("initial_token", &format!("\"{}\"", settings.partitioner.token_at(node.token)));
        }
        line("auto_bootstrap", if node.bootstraps { "true" } else { "false" });
        line("partitioner", settings.partitioner.class());
        line("endpoint_snitch", "GossipingPropertyFileSnitch");
        let seed = settings.nodes.first().map_or_else(|| node.address(), Node::address);
        line(
            "seed_provider",
            &format!(
                "[{{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{{seeds: {seed}}}]}}]"
            ),
        );
        line("listen_address", &node.address());
        line("rpc_address", &node.address());
        line("storage_port", "7000");
        line("native_transport_port", "9042");
        line("start_native_transport", "true");
        line(
            "native_transport_max_request_data_in_flight_per_ip",
            &format!("{}B", sim_tests::suite::IN_FLIGHT_BYTES_MAX),
        );
        line("auto_snapshot", "false");
        line("commitlog_sync", "periodic");
        if settings.auth {
            line("authenticator", "PasswordAuthenticator");
            line("authorizer", "CassandraAuthorizer");
            for (cache, unit) in [("permissions", "ms"), ("roles", "ms"), ("credentials", "ms")] {
                line(&format!("{cache}_validity"), &format!("100{unit}"));
            }
        }
        if settings.tls {
            let keystore = self.folder.join(KEYSTORE);
            line(
                "client_encryption_options",
                &format!(
                    "{{enabled: true, optional: false, keystore: \"{}\", keystore_password: {KEYSTORE_PASSWORD}}}",
                    keystore.display()
                ),
            );
        }
        line("data_file_directories", &format!("[ \"{}\" ]", folder.join("data").display()));
        for (key, part) in [
            ("commitlog_directory", "commitlog"),
            ("hints_directory", "hints"),
            ("saved_caches_directory", "saved_caches"),
            ("cdc_raw_directory", "cdc_raw"),
        ] {
            line(key, &format!("\"{}\"", folder.join(part).display()));
        }
        for (key, value) in SIZES {
            line(key, value);
        }
        if settings.release == Release::V40 { before_4_1(&text) } else { text }
    }

    /// Makes the key store of the nodes and writes their certificate beside it, for clients to trust.
    pub fn make_keystore(&self) -> Result<(), String> {
        let keystore = ensure_folder(&self.folder)?.join(KEYSTORE);
        if keystore.exists() {
            return Ok(());
        }
        let names: Vec<String> = self.settings.nodes.iter().map(|node| format!("ip:{}", node.address())).collect();
        let keystore = keystore.display().to_string();
        let store = ["-keystore", &keystore, "-storepass", KEYSTORE_PASSWORD, "-alias", "node"];
        keytool(
            &store,
            &["-genkeypair", "-keyalg", "RSA", "-dname", "CN=node", "-validity", "3650", "-ext"],
            &[&format!("san={}", names.join(","))],
        )?;
        let certificate = self.folder.join(CERTIFICATE).display().to_string();
        keytool(&store, &["-exportcert", "-rfc", "-file"], &[&certificate])
    }
}

/// Settings that keep a node small and quick.
const SIZES: &[(&str, &str)] = &[
    ("commitlog_sync_period", "10000ms"),
    ("user_defined_functions_enabled", "true"),
    ("materialized_views_enabled", "true"),
    ("sasi_indexes_enabled", "true"),
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
    // The least that is allowed: a silent node is down for the others after about 11 s, not 18.
    ("phi_convict_threshold", "5"),
];

const KEYSTORE: &str = "keystore.p12";
/// The certificate of all nodes, in PEM form.
pub const CERTIFICATE: &str = "certificate.pem";
/// The key store protects nothing: it lives as long as the ring, on this machine.
const KEYSTORE_PASSWORD: &str = "cassandra";

/// The same settings by the names and units they had before 4.1.
fn before_4_1(yaml: &str) -> String {
    let mut text = String::new();
    for line in yaml.lines() {
        let renamed = line.split_once(": ").map(|(key, value)| {
            if key == "native_transport_max_request_data_in_flight_per_ip" {
                let bytes = value.trim_end_matches('B');
                format!("native_transport_max_concurrent_requests_in_bytes_per_ip: {bytes}")
            } else if let Some(feature) = key.strip_suffix("_enabled") {
                format!("enable_{feature}: {value}")
            } else if let Some(size) = value.strip_suffix("MiB") {
                format!("{key}_in_mb: {size}")
            } else if let Some(period) = value.strip_suffix("ms") {
                format!("{key}_in_ms: {period}")
            } else {
                line.to_owned()
            }
        });
        text.push_str(&renamed.unwrap_or_else(|| line.to_owned()));
        text.push('\n');
    }
    text
}

fn keytool(store: &[&str], what: &[&str], value: &[&str]) -> Result<(), String> {
    let output = Command::new("keytool").args(what).args(value).args(store).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("keytool failed: {}", String::from_utf8_lossy(&output.stdout).trim())),
        Err(e) => Err(format!("cannot run keytool, which is part of every JDK: {e}")),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::ring::Settings;
    use super::*;

    fn ring(release: Release) -> Ring {
        Ring::new(Path::new("somewhere"), 1, Settings::new(release, 3, 1, 1))
    }

    #[test]
    fn every_node_listens_on_an_address_of_its_own() {
        let ring = ring(Release::V50);
        let text = ring.yaml(&ring.settings.nodes[1]);
        assert!(text.contains("rpc_address: 127.0.0.2\n"));
        assert!(text.contains("seeds: 127.0.0.1"));
    }

    #[test]
    fn older_releases_get_the_names_they_know() {
        let ring = ring(Release::V40);
        let text = ring.yaml(&ring.settings.nodes[0]);
        assert!(text.contains("enable_materialized_views: true\n"));
        assert!(text.contains("commitlog_sync_period_in_ms: 10000\n"));
        assert!(text.contains("memtable_heap_space_in_mb: 64\n"));
        assert!(text.contains("native_transport_port: 9042\n"));
    }
}
