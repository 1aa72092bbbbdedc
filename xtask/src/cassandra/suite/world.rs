//! A real ring as tests of the suite see it.

use crate::cassandra::ring::{Ring, Settings};
use crate::cassandra::{partition, processes};
use helenus::Environment;
use sim_tests::suite::{Capability, Change, Member, Release, TestCluster, WorldError};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A ring that tests may break.
pub struct RealCluster {
    ring: Mutex<Ring>,
    /// What it consisted of at first.
    original: Settings,
}

impl RealCluster {
    /// A ring that stands.
    pub fn new(ring: Ring) -> Self {
        let original = ring.settings.clone();
        Self { ring: Mutex::new(ring), original }
    }

    /// Whether clients must log in.
    pub fn is_authenticated(&self) -> bool {
        self.original.auth
    }

    /// Undoes what a test did to the nodes; the error says why only a new ring will do.
    pub fn mend(&self) -> Result<(), String> {
        let mut ring = self.ring();
        if ring.settings.can_be_cut {
            partition::heal(&ring)?;
        }
        self.dismiss_newcomers(&mut ring)?;
        if ring.settings != self.original {
            return Err("its nodes are not the ones it began with".to_owned());
        }
        for node in &ring.settings.nodes {
            if processes::is_alive(&ring, node.number) {
                // Harmless for a node that is not frozen.
                processes::signal(&ring, node.number, "CONT")?;
            }
        }
        for node in &ring.settings.nodes {
            processes::start(&ring, node.number)?;
        }
        Ok(())
    }

    /// Has nodes leave that a test has added: quicker than a new ring.
    fn dismiss_newcomers(&self, ring: &mut Ring) -> Result<(), String> {
        let is_new = |number: u8| self.original.node(number).is_err();
        let newcomers: Vec<u8> = ring.settings.nodes.iter().map(|node| node.number).filter(|n| is_new(*n)).collect();
        for number in newcomers {
            processes::start(ring, number)?;
            processes::decommission(ring, number)?;
        }
        Ok(())
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that takes a while and blocks; the sessions' tasks go on meanwhile.
    fn change<'a, T: Send + 'a>(
        &'a self,
        what: impl FnOnce(&mut Ring) -> Result<T, String> + Send + 'a,
    ) -> Change<'a, T> {
        Box::pin(async move {
            // Tests of the suite run outside the runtime's own threads, so blocking here stops no session.
            what(&mut self.ring()).map_err(WorldError)
        })
    }
}

impl TestCluster for RealCluster {
    fn members(&self) -> Vec<Member> {
        let ring = self.ring();
        let member = |node: &crate::cassandra::ring::Node| Member {
            number: node.number,
            address: SocketAddr::from(([127, 0, 0, node.octet], 9042)),
            datacenter: node.datacenter.clone(),
            is_running: processes::is_alive(&ring, node.number),
        };
        ring.settings.nodes.iter().map(member).collect()
    }

    fn release(&self) -> Release {
        let (major, minor) = self.original.release.numbers();
        Release::new(major, minor)
    }

    fn can(&self, capability: Capability) -> bool {
        match capability {
            Capability::Resize | Capability::MirroredPayload | Capability::NewAddress => true,
            Capability::Roles | Capability::TombstoneWarnings => true,
            Capability::Partition => self.original.can_be_cut,
        }
    }

    fn environment(&self, _client: &str) -> Environment {
        Environment::tokio()
    }

    fn kill(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::kill(ring, node))
    }

    fn stop(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::stop(ring, node))
    }

    fn restart(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::start(ring, node))
    }

    fn pause(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::pause(ring, node))
    }

    fn resume(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::signal(ring, node, "CONT"))
    }

    fn cut_off(&self, node: u8, from_clients: bool) -> Change<'_> {
        self.change(move |ring| partition::cut_off(ring, node, from_clients))
    }

    fn heal(&self) -> Change<'_> {
        self.change(|ring| partition::heal(ring))
    }

    fn add(&self, datacenter: &str) -> Change<'_, u8> {
        let datacenter = datacenter.to_owned();
        self.change(move |ring| processes::add(ring, &datacenter))
    }

    fn decommission(&self, node: u8) -> Change<'_> {
        self.change(move |ring| processes::decommission(ring, node))
    }

    fn restart_elsewhere(&self, node: u8) -> Change<'_> {
        self.change(move |ring| {
            ring.settings.relocate(node)?;
            ring.save()?;
            processes::start(ring, node)
        })
    }
}
