//! Whose calls come through the gateway: each says by a number what it counts against, on the way to our own service.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use http::HeaderMap;

use crate::{context::IoContext, error::Status, shares::Share};

/// What carries the number. From anybody but this member's own gateway it says nothing.
pub(crate) const CALLER: &str = "kvorum-caller";

/// The callers of the calls under way on one I/O thread.
#[derive(Default)]
pub(super) struct Callers(RefCell<Known>);

#[derive(Default)]
struct Known {
    last: u64,
    shares: HashMap<u64, Arc<Share>>,
}

impl Callers {
    fn add(&self, share: &Arc<Share>) -> u64 {
        let mut known = self.0.borrow_mut();
        known.last += 1;
        let number = known.last;
        known.shares.insert(number, Arc::clone(share));
        number
    }

    fn remove(&self, number: u64) {
        self.0.borrow_mut().shares.remove(&number);
    }

    /// What a call counts against.
    ///
    /// # Errors
    /// Its caller is gone already.
    pub(super) fn share_of(&self, headers: &HeaderMap) -> Result<Arc<Share>, Status> {
        let number = headers.get(CALLER).and_then(|number| number.to_str().ok());
        let number = number.and_then(|number| number.parse().ok());
        let known = self.0.borrow();
        let share = number.and_then(|number: u64| known.shares.get(&number));
        share.cloned().ok_or_else(Status::canceled)
    }
}

/// The caller of one call, until that has ended.
pub(super) struct Introduced {
    cx: Rc<IoContext>,
    number: u64,
}

impl Introduced {
    pub(super) fn new(cx: &Rc<IoContext>, share: &Arc<Share>) -> Self {
        Self {
            cx: Rc::clone(cx),
            number: cx.gateway.callers.add(share),
        }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Introduced {
    fn drop(&mut self) {
        self.cx.gateway.callers.remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_call_is_known_by_its_number_until_it_ends() {
        let callers = Callers::default();
        let (one, other) = (Share::endless(), Share::endless());
        let (first, second) = (callers.add(&one), callers.add(&other));
        let find = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(text).expect("a header");
            headers.insert(CALLER, value);
            callers.share_of(&headers)
        };
        let found = find(&first.to_string()).expect("known");
        assert!(Arc::ptr_eq(&found, &one));
        callers.remove(first);
        assert!(find(&first.to_string()).is_err());
        assert!(find("x").is_err());
        let found = find(&second.to_string()).expect("known");
        assert!(Arc::ptr_eq(&found, &other));
        assert!(callers.share_of(&HeaderMap::new()).is_err());
    }
}
