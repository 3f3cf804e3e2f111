//! The service manager that started us, if there is one: it is notified of the daemon's state, watches that it lives, and keeps
//! the workers' sockets while we restart. Without one nothing of this happens.

mod attend;
mod notify;

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use self::attend::{Attending, watchdog_interval};
pub use self::notify::Notifier;
use crate::config;
use crate::observe::stages::Stages;
#[cfg(target_os = "linux")]
use crate::receive::Inherited;
use crate::receive::{BindError, Opening, Receivers};
use crate::worker::Mailboxes;

/// What the process was started with.
#[derive(Debug, Default)]
pub struct Supervised {
    notifier: Option<Arc<Notifier>>,
    watchdog: Option<Duration>,
    #[cfg(target_os = "linux")]
    inherited: Inherited,
}

/// The service manager while the daemon runs.
#[derive(Debug)]
pub struct Supervisor {
    notifier: Option<Arc<Notifier>>,
    attending: Option<Attending>,
}

impl Supervised {
    /// Reads the environment and takes over the sockets that it names. To be called before the process opens
    /// anything else.
    #[must_use]
    pub fn take() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        #[cfg(target_os = "linux")]
        let inherited = Inherited::take(variable);
        let notifier = Notifier::from_environment(|name| std::env::var_os(name));
        let notifier = notifier.unwrap_or_else(|error| {
            warn!(%error, "can't notify the service manager: NOTIFY_SOCKET can't be used");
            None
        });
        Self {
            watchdog: notifier.as_ref().and_then(|_| watchdog_interval(variable)),
            notifier: notifier.map(Arc::new),
            #[cfg(target_os = "linux")]
            inherited,
        }
    }

    /// Opens the receivers, with the sockets that are there already, and has the others kept from here on.
    ///
    /// # Errors
    /// When an address can't be bound.
    pub fn open(&mut self, config: &config::Receive) -> Result<Receivers, BindError> {
        #[cfg(target_os = "linux")]
        {
            let inherited = std::mem::take(&mut self.inherited);
            let sockets = inherited.len();
            let (kept, unusable) = inherited.sort(config);
            if sockets > unusable.len() {
                let sockets = sockets - unusable.len();
                info!(
                    sockets,
                    "continuing with sockets that the service manager kept"
                );
            }
            self.give_up(unusable);
            let receivers = Opening::new(config).kept(kept).open()?;
            if let Some(notifier) = &self.notifier {
                for (name, socket) in receivers.made() {
                    if let Err(error) = notifier.store(&name, socket) {
                        warn!(
                            name,
                            %error,
                            "the service manager could not be asked to keep a socket: a restart will lose datagrams"
                        );
                    }
                }
            }
            Ok(receivers)
        }
        #[cfg(not(target_os = "linux"))]
        Opening::new(config).open()
    }

    /// Closes sockets everywhere, so that their addresses can be bound anew.
    #[cfg(target_os = "linux")]
    fn give_up(&self, unusable: Vec<crate::receive::Unusable>) {
        let is_stored = unusable.iter().any(|socket| socket.is_stored);
        for socket in unusable {
            warn!(
                name = socket.name,
                address = %socket.address,
                "a socket that the service manager kept is closed: it doesn't match the settings any more; \
                 what it held is lost"
            );
            if let (true, Some(notifier)) = (socket.is_stored, &self.notifier)
                && let Err(error) = notifier.forget(&socket.name)
            {
                warn!(%error, "the service manager could not be asked to close it");
            }
        }
        if let (true, Some(notifier)) = (is_stored, &self.notifier)
            && let Err(error) = notifier.settle()
        {
            warn!(%error, "the service manager has not closed what it was asked to close");
        }
    }

    /// Says that the daemon is ready, and continues to report its state.
    #[must_use]
    pub fn attend(self, stages: &Arc<Stages>, mailboxes: &Mailboxes) -> Supervisor {
        let attending = self.notifier.clone().map(|notifier| {
            Attending::start(
                notifier,
                self.watchdog,
                Arc::clone(stages),
                mailboxes.clone(),
            )
        });
        Supervisor {
            notifier: self.notifier,
            attending,
        }
    }
}

impl Supervisor {
    /// The daemon ends within this time. The workers answer no more.
    pub fn stopping(&mut self, timeout: Duration) {
        self.attending = None;
        if let Some(notifier) = &self.notifier {
            notifier.stopping(timeout);
        }
    }
}
