//! Who may do what: the machine's answer against that of a model which finds it in another way.

#[path = "rights/model.rs"]
mod model;
#[path = "rights/pairs.rs"]
mod pairs;
