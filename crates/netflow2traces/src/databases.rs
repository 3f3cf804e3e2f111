//! `NETFLOW_GEOIP_COUNTRY` and `NETFLOW_GEOIP_ASN`: opened at the start, watched, and handed to the workers together.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::enrichment::{AsnDatabase, CountryDatabase, TableFile, Watching, open_table};
use crate::health::Health;
use crate::translate::enrich::geo::Databases;
use crate::worker::Mailboxes;

/// The files as they were opened.
#[derive(Debug)]
pub struct DatabaseFiles {
    country: Option<TableFile<CountryDatabase>>,
    asn: Option<TableFile<AsnDatabase>>,
}

impl DatabaseFiles {
    /// Opens those that are set.
    ///
    /// # Errors
    /// What can't be used.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            country: open_table(config.geoip_country.as_ref())?,
            asn: open_table(config.geoip_asn.as_ref())?,
        })
    }

    /// What was read of them.
    #[must_use]
    pub fn now(&self) -> Databases {
        Databases {
            country: self.country.as_ref().map(|file| Arc::clone(&file.table.0)),
            asn: self.asn.as_ref().map(|file| Arc::clone(&file.table.0)),
        }
    }

    /// Watches them. Whichever changes, the workers get both.
    #[must_use]
    pub fn watch(self, health: &Health, mailboxes: &Mailboxes) -> [Option<Watching>; 2] {
        let current = Current {
            databases: Arc::new(Mutex::new(self.now())),
            mailboxes: mailboxes.clone(),
        };
        let country = self.country.map(|file| {
            let current = current.clone();
            Watching::start(file, health, move |new: &Arc<CountryDatabase>| {
                current.change(|all| all.country = Some(Arc::clone(&new.0)))
            })
        });
        let asn = self.asn.map(|file| {
            Watching::start(file, health, move |new: &Arc<AsnDatabase>| {
                current.change(|all| all.asn = Some(Arc::clone(&new.0)))
            })
        });
        [country, asn]
    }
}

/// What the workers were given last.
#[derive(Clone)]
struct Current {
    databases: Arc<Mutex<Databases>>,
    mailboxes: Mailboxes,
}

impl Current {
    /// Whether every worker gets the change.
    fn change(&self, change: impl Fn(&mut Databases)) -> bool {
        let mut databases = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut databases);
        let databases = databases.clone();
        self.mailboxes
            .put_all(move |machine| machine.locate(databases.clone()))
    }
}
