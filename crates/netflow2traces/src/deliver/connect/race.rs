//! One TCP connection to the first of several addresses that answers (RFC 8305, "Happy Eyeballs"): an address that
//! swallows connections costs a quarter of a second, not the whole time limit.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The next address is tried beside the ones before it when they haven't answered for this long (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// A connection, and what was tried before it.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) stream: TcpStream,
    pub(super) address: SocketAddr,
    /// Addresses that refused, or were silent until another one had answered.
    pub(super) passed_over: Vec<SocketAddr>,
}

/// Every address that was tried, sorted, and why it gave no connection.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) tried: Vec<(SocketAddr, Why)>,
}

#[derive(Debug)]
pub(in super::super) enum Why {
    Error(io::Error),
    /// No answer within this time.
    Silent(Duration),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "{error}"),
            Self::Silent(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

/// Connects to the addresses in this order; `limit` is for all together.
///
/// # Errors
/// [`Lost`], if none answered.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<Won, Lost> {
    let end = Instant::now() + limit;
    let mut waiting: VecDeque<SocketAddr> = addresses.iter().copied().collect();
    let mut open: Vec<SocketAddr> = Vec::new();
    let mut tried: Vec<(SocketAddr, Why)> = Vec::new();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            open.push(address);
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let next = if waiting.is_empty() {
            end
        } else {
            end.min(Instant::now() + STAGGER)
        };
        match tokio::time::timeout_at(next, attempts.join_next()).await {
            Ok(Some(Ok((address, Ok(stream))))) => {
                open.retain(|other| *other != address);
                open.extend(tried.iter().map(|(address, _)| *address));
                return Ok(Won {
                    stream,
                    address,
                    passed_over: open,
                });
            }
            Ok(Some(Ok((address, Err(error))))) => {
                open.retain(|other| *other != address);
                tried.push((address, Why::Error(error)));
            }
            // An attempt that panicked stays among the silent ones.
            Ok(Some(Err(_))) => {}
            Ok(None) => break,
            Err(_) if Instant::now() >= end => break,
            Err(_) => {}
        }
    }
    tried.extend(
        open.into_iter()
            .map(|address| (address, Why::Silent(limit))),
    );
    tried.sort_by_key(|(address, _)| *address);
    Err(Lost { tried })
}

#[cfg(test)]
mod tests {
    use super::super::swallowing::Swallowing;
    use super::*;
    use tokio::net::TcpListener;

    const AMPLE: Duration = Duration::from_secs(30);

    async fn refusing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn addresses_that_swallow_or_refuse_yield_to_the_next_wherever_they_stand() {
        let (silent, refusing) = (Swallowing::new().await, refusing().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        for order in [
            vec![silent.address, good],
            vec![refusing, good],
            vec![silent.address, refusing, good],
            vec![refusing, silent.address, good],
        ] {
            let won = connect(&order, AMPLE).await.unwrap();
            assert_eq!(won.address, good);
            let mut passed_over = won.passed_over;
            passed_over.sort();
            let mut others = order[..order.len() - 1].to_vec();
            others.sort();
            assert_eq!(passed_over, others);
        }
        let won = connect(&[good, silent.address], AMPLE).await.unwrap();
        assert_eq!((won.address, won.passed_over), (good, Vec::new()));
    }

    #[tokio::test]
    async fn without_a_connection_each_address_says_why() {
        let (silent, refusing) = (Swallowing::new().await, refusing().await);
        let limit = Duration::from_millis(600);
        let lost = connect(&[silent.address, refusing], limit)
            .await
            .unwrap_err();
        for (address, why) in lost.tried {
            match why {
                Why::Error(error) => {
                    assert_eq!(address, refusing);
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                }
                Why::Silent(time) => assert_eq!((address, time), (silent.address, limit)),
            }
        }
        assert!(connect(&[], limit).await.unwrap_err().tried.is_empty());
    }
}
