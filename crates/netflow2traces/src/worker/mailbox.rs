//! Questions to the workers, whose state belongs to their threads: a question is put into the worker's mailbox, the
//! worker is woken, looks at its own state and sends the answer. Without questions, this costs nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::receive::Waker;
use crate::translate::Translator;
use crate::translate::enrich::networks::Networks;

/// A worker that hasn't answered by then is stuck, or has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions that may wait for one worker.
const MAX_WAITING: usize = 64;

/// The machine of a worker.
pub type Machine = Translator;

type Question = Box<dyn FnOnce(&mut Machine, Instant) + Send>;

/// Questions to one worker.
#[derive(Default)]
pub struct Mailbox(Mutex<Vec<Question>>);

/// Where all workers can be asked.
#[derive(Clone)]
pub struct Mailboxes {
    workers: Vec<(Arc<Mailbox>, Waker)>,
}

/// A worker didn't answer in time, or has more to answer than it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a receive worker did not answer in time")]
pub struct Unanswered;

impl Mailbox {
    /// Answers what was asked. To be called by the worker when it is woken.
    pub fn answer(&self, machine: &mut Machine, now: Instant) {
        let questions = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for question in questions {
            question(machine, now);
        }
    }

    fn put(&self, question: Question) -> Result<(), Unanswered> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            return Err(Unanswered);
        }
        waiting.push(question);
        Ok(())
    }
}

impl Mailboxes {
    /// For these workers, in their order.
    #[must_use]
    pub fn new(workers: Vec<(Arc<Mailbox>, Waker)>) -> Self {
        Self { workers }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Lets one worker do something short with its own state, soon.
    ///
    /// # Errors
    /// When too much waits for it already.
    pub fn put(
        &self,
        worker: usize,
        work: impl FnOnce(&mut Machine, Instant) + Send + 'static,
    ) -> Result<(), Unanswered> {
        let (mailbox, waker) = self.workers.get(worker).ok_or(Unanswered)?;
        mailbox.put(Box::new(work))?;
        waker.wake();
        Ok(())
    }

    /// Gives every worker new names of networks; `false` if one of them has too much to do.
    #[must_use]
    pub fn name_networks(&self, networks: &Arc<Networks>) -> bool {
        let mut all = true;
        for worker in 0..self.workers() {
            let networks = Arc::clone(networks);
            let put = self.put(worker, move |machine, _| {
                machine.name_networks(Some(networks));
            });
            all &= put.is_ok();
        }
        all
    }

    /// Lets every worker do the same with its own state, soon; `false` if one of them has too much to do.
    #[must_use]
    pub fn put_all(&self, work: impl Fn(&mut Machine) + Clone + Send + 'static) -> bool {
        let mut all = true;
        for worker in 0..self.workers() {
            let work = work.clone();
            all &= self.put(worker, move |machine, _| work(machine)).is_ok();
        }
        all
    }

    /// Asks every worker, and gives the answers in their order. What is asked runs on the worker's thread: it
    /// should be short.
    ///
    /// # Errors
    /// When a worker doesn't answer within two seconds.
    pub async fn ask<T, F>(&self, look: F) -> Result<Vec<T>, Unanswered>
    where
        T: Send + 'static,
        F: Fn(&mut Machine, Instant) -> T + Clone + Send + 'static,
    {
        let mut answers = Vec::with_capacity(self.workers.len());
        for (mailbox, waker) in &self.workers {
            let (reply, answer) = oneshot::channel();
            let look = look.clone();
            mailbox.put(Box::new(move |machine, now| {
                // Nobody waits any more: then there is no need to look.
                if !reply.is_closed() {
                    let _ = reply.send(look(machine, now));
                }
            }))?;
            waker.wake();
            answers.push(answer);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut all = Vec::with_capacity(answers.len());
        for answer in answers {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => all.push(answer),
                _ => return Err(Unanswered),
            }
        }
        Ok(all)
    }
}

impl std::fmt::Debug for Mailboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailboxes")
            .field("workers", &self.workers.len())
            .finish()
    }
}
