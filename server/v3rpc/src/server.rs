//! The client listener as a whole: its threads, their start and their end.
//!
//! Each I/O thread runs a current-thread runtime with a [`Handle`] of its own. The first one also accepts, and deals
//! connections to all of them in turn.

use std::{io, rc::Rc, sync::Arc, thread, time::Duration};

use kvorum_member::Handle;
use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    accept::{Accepted, Dealer, Place, Stop, accept},
    connection::{Door, serve},
    context::IoContext,
    gateway::{self, Gateway, Shared},
    metrics::EdgeMetrics,
    options::{Listener, Options, Scope},
    shares::{Crowd, Limits},
};

/// What connections may take beyond their own deadline to end when the listener stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The running client listener.
#[derive(Debug)]
pub struct Front {
    stop: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Front {
    /// Serves `listeners` on one thread per handle.
    ///
    /// What it counts is registered with the member, whose registry can take that once.
    ///
    /// # Errors
    ///
    /// If there is no handle, or the operating system refuses a thread or a runtime.
    pub fn start(
        listeners: Vec<Listener>,
        handles: Vec<Handle>,
        options: Options,
    ) -> io::Result<Self> {
        let Some(first) = handles.first() else {
            let text = "the client listener needs at least one I/O thread";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let metrics = EdgeMetrics::new(first.registry(), options.extensive_metrics);
        let metrics = Arc::new(metrics);
        let options = Arc::new(options);
        let receiving_bytes = first.receive_budget().usage().total_bytes;
        let crowd = Arc::new(Crowd::new(limits(&options, receiving_bytes)));
        let gateway = Shared::new(receiving_bytes * 2);
        let (raise, stop) = Stop::new();
        let (dealt, hands): (Vec<_>, Vec<_>) =
            handles.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let dealer = Dealer::new(dealt, options.connections_max);
        let mut accepting = Some((listeners, dealer));
        let mut front = Self {
            stop: raise,
            threads: Vec::new(),
        };
        for (number, (handle, hand)) in handles.into_iter().zip(hands).enumerate() {
            let thread = IoThread {
                handle,
                hand,
                accepting: accepting.take(),
                options: Arc::clone(&options),
                metrics: Arc::clone(&metrics),
                gateway: gateway.clone(),
                crowd: Arc::clone(&crowd),
                stop: stop.clone(),
            };
            front.threads.push(thread.spawn(number)?);
        }
        Ok(front)
    }

    /// Accepts no more, says goodbye to clients and answers what is under way, within the drain timeout. Returns at
    /// once; [`Front::join`] waits.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all threads have ended. Call [`Front::stop`] first.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an I/O thread ended with a panic");
            }
        }
    }
}

/// What one client may take. A part of what all have for messages is enough, but one message must fit.
fn limits(options: &Options, receiving_bytes: usize) -> Limits {
    let message_bytes = options.message_bytes_max();
    let json_bytes = gateway::value_bytes_max(message_bytes);
    Limits {
        calls: options.client_calls_max,
        open: options.client_streams_max,
        through_gateway: usize::try_from(options.max_concurrent_streams).unwrap_or(usize::MAX),
        waiting_bytes: message_bytes.max(receiving_bytes / 4),
        // With what waits, all but an eighth of what all have.
        arriving_bytes: message_bytes.max(receiving_bytes / 8 * 5),
        unread_bytes: message_bytes.max(receiving_bytes / 4),
        // The end of a body is seen only with what comes after it.
        body_bytes: (json_bytes * 2).max(gateway::WAITING_BYTES_MAX / 4),
    }
}

/// What one I/O thread is made from.
struct IoThread {
    handle: Handle,
    hand: mpsc::UnboundedReceiver<Accepted>,
    accepting: Option<(Vec<Listener>, Dealer)>,
    options: Arc<Options>,
    metrics: Arc<EdgeMetrics>,
    gateway: Shared,
    crowd: Arc<Crowd>,
    stop: Stop,
}

impl IoThread {
    fn spawn(self, number: usize) -> io::Result<thread::JoinHandle<()>> {
        let (report, ready) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("kvorum-io-{number}"))
            .spawn(move || {
                let runtime = match build_runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                let _ = report.send(Ok(()));
                runtime.block_on(self.run());
            })?;
        ready
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("an I/O thread did not start")))?;
        Ok(thread)
    }

    /// Runs until the listener stops, then until the connections have ended or their time is up.
    async fn run(mut self) {
        let mut delivery = tokio::task::spawn_local(self.handle.run());
        let context = Rc::new(IoContext::new(
            self.handle.clone(),
            Arc::clone(&self.options),
            &self.metrics,
            Gateway::new(self.gateway.clone()),
            Arc::clone(&self.crowd),
            self.stop.clone(),
        ));
        let guests = Rc::clone(&context.guests).look_after();
        let looking_after = tokio::task::spawn_local(guests);
        let mut connections = JoinSet::new();
        let mut acceptors = self.accept();
        loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => break,
                Some(_) = connections.join_next() => {}
                Some(accepted) = self.hand.recv() => match adopt(accepted) {
                    Ok((socket, door, place)) => {
                        let (cx, from) = (Rc::clone(&context), place.seat.address);
                        let serving = serve(cx, socket, from, door, self.stop.clone());
                        connections.spawn_local(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(error) => tracing::warn!(%error, "cannot take over a connection"),
                },
            }
        }
        while acceptors.join_next().await.is_some() {}
        let ended = async { while connections.join_next().await.is_some() {} };
        let deadline = self.options.drain_timeout + STOP_GRACE;
        if timeout(deadline, ended).await.is_err() {
            tracing::warn!(open = connections.len(), "connections were cut off");
        }
        connections.shutdown().await;
        if timeout(STOP_GRACE, context.errands.finish()).await.is_err() {
            tracing::warn!("callers who left a queue may have left their key behind");
        }
        looking_after.abort();
        delivery.abort();
        // Cancelled on purpose.
        let _ = (&mut delivery).await;
    }

    /// Starts to accept, if this is the thread that does.
    fn accept(&mut self) -> JoinSet<()> {
        let mut acceptors = JoinSet::new();
        let Some((listeners, dealer)) = self.accepting.take() else {
            return acceptors;
        };
        let probes = dealer.for_probes();
        for listener in listeners {
            let dealer = match listener.scope {
                Scope::Metrics => probes.clone(),
                _ => dealer.clone(),
            };
            let door = Arc::new(Door {
                tls: listener.tls,
                allow_plain: listener.allow_plain,
                scope: listener.scope,
                is_loopback: is_loopback(&listener.socket),
            });
            let accepting = accept(listener.socket, door, dealer, self.stop.clone());
            acceptors.spawn_local(async {
                if let Err(error) = accepting.await {
                    tracing::error!(%error, "a listener has failed");
                }
            });
        }
        acceptors
    }
}

/// What cannot tell its address is taken for one that all reach.
fn is_loopback(socket: &std::net::TcpListener) -> bool {
    let address = socket.local_addr();
    address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

fn build_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

fn adopt(accepted: Accepted) -> io::Result<(TcpStream, Arc<Door>, Place)> {
    let socket = TcpStream::from_std(accepted.socket)?;
    Ok((socket, accepted.door, accepted.place))
}
