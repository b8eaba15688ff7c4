//! A member whose files are lost asks for another one in its place.

use std::sync::Arc;

use kvorum_proto::kvorumpb::peer_reply::Told;

use crate::peer::PeerAsk;
use crate::shared::Shared;

/// Answers such a question.
pub(crate) fn answer(_shared: &Arc<Shared>, ask: PeerAsk) {
    ask.answer(Told::Refused(
        "replacing is asked for through a client URL".into(),
    ));
}
