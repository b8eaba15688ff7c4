//! The oracle and what drives it: a model of etcd, a request generator, and checkers of histories and watches.
//!
//! Nothing here shares code with the server. The model is written for the reader, not for speed: when the server and
//! the model differ, the shorter of the two should be the one that is easy to believe.

pub mod generate;
pub mod history;
pub mod linearizable;
pub mod model;
pub mod watch_check;
