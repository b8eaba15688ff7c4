//! Work that goes on when its caller is gone: a place in a queue must be given back.

use std::cell::RefCell;

use tokio::{sync::oneshot, task::JoinSet};

use crate::{accept::Stop, error::Status};

/// The errands of one I/O thread.
#[derive(Default)]
pub(crate) struct Errands(RefCell<JoinSet<()>>);

/// Tells an errand that nobody waits for it any more.
pub(crate) struct Caller {
    gone: oneshot::Receiver<()>,
    stop: Stop,
}

impl Caller {
    /// Returns once the caller has given up, or the listener stops.
    pub(crate) async fn leaves(&mut self) -> Status {
        tokio::select! {
            // Nothing is ever sent: the sender goes away with the call.
            _ = &mut self.gone => Status::canceled(),
            () = self.stop.wait() => kvorum_core::Error::Stopped.into(),
        }
    }
}

impl Errands {
    /// Runs `work` as a task of its own and waits for what it gives. Dropped before, `work` goes on and hears of it
    /// through its [`Caller`].
    pub(crate) async fn run<T, F>(
        &self,
        stop: Stop,
        work: impl FnOnce(Caller) -> F,
    ) -> Result<T, Status>
    where
        T: 'static,
        F: Future<Output = Result<T, Status>> + 'static,
    {
        let (here, gone) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let working = work(Caller { gone, stop });
        {
            let mut tasks = self.0.borrow_mut();
            while tasks.try_join_next().is_some() {}
            tasks.spawn_local(async move {
                // Nobody is there any more if the caller went away.
                let _ = tell.send(working.await);
            });
        }
        let outcome = told.await;
        drop(here);
        outcome.unwrap_or_else(|_| Err(kvorum_core::Error::Stopped.into()))
    }

    /// Waits until all errands are done.
    pub(crate) async fn finish(&self) {
        let mut tasks = self.0.take();
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn an_errand_outlives_its_caller_and_hears_of_it() {
        let local = LocalSet::new();
        let errands = Errands::default();
        let cleaned = Rc::new(Cell::new(false));
        let (_raise, stop) = Stop::new();
        local
            .run_until(async {
                let cleaned = Rc::clone(&cleaned);
                let call = errands.run(stop, |mut caller| async move {
                    let status = caller.leaves().await;
                    cleaned.set(true);
                    Err::<(), _>(status)
                });
                let mut call = Box::pin(call);
                tokio::select! {
                    biased;
                    _ = &mut call => panic!("nobody left"),
                    () = tokio::task::yield_now() => {}
                }
                drop(call);
                errands.finish().await;
            })
            .await;
        assert!(cleaned.get());
    }

    #[tokio::test]
    async fn an_errand_gives_back_what_it_found() {
        let local = LocalSet::new();
        let errands = Errands::default();
        let (raise, stop) = Stop::new();
        local
            .run_until(async {
                let found = errands.run(stop.clone(), |_| async { Ok(7) }).await;
                assert_eq!(found, Ok(7));
                raise.send_replace(true);
                let stopped = errands
                    .run(stop, |mut caller| async move {
                        Err::<(), _>(caller.leaves().await)
                    })
                    .await;
                assert_eq!(
                    stopped.expect_err("stopped").message,
                    "etcdserver: server stopped"
                );
            })
            .await;
    }
}
