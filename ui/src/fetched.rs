//! An answer on its way: loading, there, failed, or there while a newer one loads.

use std::future::Future;

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::Failure;

/// What a page knows of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fetched<T> {
    /// The last success, kept while a newer request runs.
    pub(crate) value: Option<T>,
    /// Why the last request failed.
    pub(crate) failure: Option<Failure>,
    /// True while a request runs.
    pub(crate) loading: bool,
}

impl<T> Default for Fetched<T> {
    fn default() -> Self {
        Self {
            value: None,
            failure: None,
            loading: true,
        }
    }
}

impl<T> Fetched<T> {
    /// Takes the answer to the newest request.
    pub(crate) fn settle(&mut self, answer: Result<T, Failure>) {
        self.loading = false;
        match answer {
            Ok(value) => {
                self.value = Some(value);
                self.failure = None;
            }
            Err(failure) => {
                // What is shown must not look like the answer to this request.
                self.value = None;
                self.failure = Some(failure);
            }
        }
    }
}

/// Asks whenever `question` changes or `again` is bumped; an answer that was overtaken is dropped.
pub(crate) fn fetched<Q, T, F>(
    question: Memo<Q>,
    again: RwSignal<u32>,
    ask: impl Fn(Q) -> F + Copy + 'static,
) -> RwSignal<Fetched<T>>
where
    Q: Clone + PartialEq + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    let state = RwSignal::new(Fetched::default());
    let asked = StoredValue::new(0u32);
    Effect::new(move || {
        again.track();
        let question = question.get();
        asked.update_value(|asked| *asked = asked.wrapping_add(1));
        let this = asked.get_value();
        state.update(|state| state.loading = true);
        spawn_local(async move {
            let answer = ask(question).await;
            // `None`: the page is gone.
            if asked.try_get_value() == Some(this) {
                state.update(|state| state.settle(answer));
            }
        });
    });
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_does_not_leave_an_old_answer_behind() {
        let mut fetched = Fetched {
            value: Some(1),
            ..Fetched::default()
        };
        let failure = Failure {
            code: None,
            message: "gone".into(),
            request_id: None,
        };
        fetched.settle(Err(failure.clone()));
        assert_eq!(
            fetched,
            Fetched {
                value: None,
                failure: Some(failure),
                loading: false
            }
        );
        fetched.settle(Ok(2));
        assert_eq!(
            fetched,
            Fetched {
                value: Some(2),
                failure: None,
                loading: false
            }
        );
    }
}
