//! The lease behind a place in a queue. (etcd: client/v3/concurrency, session.go)

use std::{convert::Infallible, future::pending, time::Duration};

use kvorum_core::Error;
use kvorum_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest};

use crate::client::Client;

/// A caller without a lease gets one of so many seconds.
const TTL_S: i64 = 60;
/// A lease that is ours is renewed this often while its call waits.
const RENEW_INTERVAL: Duration = Duration::from_secs(20);

/// A caller's lease, or one that was granted for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    lease: i64,
    granted_here: bool,
}

impl Session {
    /// Takes the lease that the caller names; 0 names none.
    pub(crate) async fn open(client: &Client, lease: i64) -> Result<Self, Error> {
        if lease != 0 {
            return Ok(Self {
                lease,
                granted_here: false,
            });
        }
        let request = LeaseGrantRequest { ttl: TTL_S, id: 0 };
        let granted = client.lease_grant(request).await?;
        Ok(Self {
            lease: granted.id,
            granted_here: true,
        })
    }

    pub(crate) const fn lease(&self) -> i64 {
        self.lease
    }

    /// Renews a lease that is ours, and never returns. A caller renews its own lease itself.
    pub(crate) async fn keep(&self, client: &Client) -> Infallible {
        if !self.granted_here {
            return pending().await;
        }
        loop {
            tokio::time::sleep(RENEW_INTERVAL).await;
            let request = LeaseKeepAliveRequest { id: self.lease };
            if let Err(error) = client.lease_keep_alive(request).await {
                // The place in the queue goes with the lease, and its owner finds out when its turn comes.
                tracing::debug!(%error, "a waiting caller's lease was not renewed");
            }
        }
    }
}
