//! [`Receivers::open`] with the choices that tests and benches make.

use std::sync::Arc;

use super::Receivers;
use super::counters::WorkerCounters;
use super::error::BindError;
use super::socket::{self, BoundSocket, Listen, ReceiveBuffer, Steering, granted_buffer};
#[cfg(target_os = "linux")]
use super::steering::SteeringProgram;
use crate::config;

/// How to open [`Receivers`].
#[derive(Clone)]
pub struct Opening<'a> {
    config: &'a config::Receive,
    portable: bool,
    #[cfg(target_os = "linux")]
    steering: Option<SteeringProgram>,
}

impl<'a> Opening<'a> {
    /// As the system allows.
    #[must_use]
    pub fn new(config: &'a config::Receive) -> Self {
        Self {
            config,
            portable: cfg!(not(target_os = "linux")),
            #[cfg(target_os = "linux")]
            steering: None,
        }
    }

    /// Uses the receiver for other systems on any system: it has one worker, and no kernel
    /// time-stamps or drop counts.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.portable = true;
        self
    }

    /// Steers by another program.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn steering(mut self, program: SteeringProgram) -> Self {
        self.steering = Some(program);
        self
    }

    /// Binds the sockets.
    ///
    /// # Errors
    /// As [`Receivers::open`].
    pub fn open(self) -> Result<Receivers, BindError> {
        let plan = socket::plan(&self.config.listen);
        if plan.is_empty() {
            return Err(BindError::NoAddress);
        }
        let (workers, steering) = self.open_sockets(&plan)?;
        let first = workers.iter().take(1).flatten();
        let local_addresses = first.map(|bound| bound.address).collect();
        let sockets = workers.iter().flatten();
        let granted = sockets.map(|bound| granted_buffer(&bound.socket)).min();
        let counters: Vec<_> = workers.iter().map(|_| WorkerCounters::default()).collect();
        Ok(Receivers {
            workers,
            portable: self.portable,
            local_addresses,
            steering,
            receive_buffer: ReceiveBuffer {
                requested: self.config.receive_buffer,
                granted: granted.unwrap_or(0),
            },
            counters: Arc::from(counters),
        })
    }

    fn open_sockets(
        &self,
        plan: &[Listen],
    ) -> Result<(Vec<Vec<BoundSocket>>, Steering), BindError> {
        let buffer = self.config.receive_buffer;
        #[cfg(target_os = "linux")]
        if !self.portable {
            let workers = self.config.workers.max(1);
            let by_address = || SteeringProgram::by_source_address(workers);
            let program = self.steering.clone().unwrap_or_else(by_address);
            return socket::open(plan, workers, buffer, &program);
        }
        let only = socket::open_portable(plan, buffer)?;
        Ok((vec![only], Steering::OneWorker))
    }
}
