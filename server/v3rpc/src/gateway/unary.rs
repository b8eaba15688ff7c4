//! Calls with one message each way.

use std::rc::Rc;

use bytes::Bytes;
use http::Response;
use kvorum_member::Hold;

use super::{
    ANSWER_SHARE,
    incoming::Incoming,
    inner::{self, Event, within},
    metadata::Call,
    reply::{self, ReplyBody},
    routes::Route,
    transcode,
};
use crate::{
    context::IoContext,
    crowded::Crowded,
    error::{Code, Status},
};

/// Answers from this size on are written as JSON on a thread of their own: other callers wait meanwhile.
const LARGE_ANSWER_BYTES: usize = 256 * 1024;

/// Answers one call.
pub(super) async fn serve(
    cx: &Rc<IoContext>,
    route: &'static Route,
    call: Call,
    mut incoming: Incoming,
) -> Response<ReplyBody> {
    match answer(cx, route, &call, &mut incoming).await {
        Ok((json, hold)) if hold.is_large() => reply::message(json.into(), hold),
        // What has happened is answered in any case.
        Ok((json, hold)) => {
            let charge = call.share.unread().charge_anyway(json.len());
            reply::message(charge.of(json), hold)
        }
        Err(status) => reply::error(&status),
    }
}

async fn answer(
    cx: &Rc<IoContext>,
    route: &'static Route,
    call: &Call,
    incoming: &mut Incoming,
) -> Result<(Vec<u8>, Hold), Status> {
    let unread = call.share.unread();
    if unread.is_full() {
        // Nothing else bounds small answers that a client does not read.
        return Err(Crowded::Unread(unread.max()).into());
    }
    let request = read_only(route, call, incoming).await?;
    let mut exchange = inner::start(cx, route, call).await?;
    exchange.send_only(&request)?;
    drop(request);
    let mut answered = None;
    let mut hold = cx.gateway.shared.answers.hold();
    loop {
        match exchange.next().await {
            Event::Large(bytes) => {
                let turn = async { Ok(hold.grow(bytes.saturating_mul(ANSWER_SHARE)).await?) };
                within(call.deadline, turn).await?;
            }
            Event::Message(message) => answered = Some(message),
            Event::End(status) if status.code == Code::Ok => break,
            Event::End(status) => return Err(status),
        }
    }
    drop(exchange);
    let json = to_json(route, answered.unwrap_or_default()).await?;
    hold.shrink(hold.bytes().saturating_sub(json.len()));
    Ok((json, hold))
}

/// The only message of a body, encoded.
pub(super) async fn read_only(
    route: &Route,
    call: &Call,
    incoming: &mut Incoming,
) -> Result<Vec<u8>, Status> {
    let json = within(call.deadline, incoming.only()).await?;
    transcode::to_wire(&json, route.request)
        .map_err(|malformed| Status::new(Code::InvalidArgument, malformed.to_string()))
}

async fn to_json(route: &'static Route, message: Bytes) -> Result<Vec<u8>, Status> {
    let is_large = message.len() >= LARGE_ANSWER_BYTES;
    let write = move || {
        let mut json = Vec::with_capacity(message.len().saturating_mul(3) / 2);
        transcode::to_json(&message, route.response, &mut json)
            .map_err(|malformed| Status::internal(malformed.to_string()))?;
        // What grew by doubling waits for its reader without the spare half.
        json.shrink_to_fit();
        Ok(json)
    };
    if is_large {
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
    } else {
        write()
    }
}
