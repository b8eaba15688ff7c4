//! The gRPC health check. Only the server as a whole, the empty service name, is known.

use bytes::Bytes;
use kvorum_proto::healthpb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
};

use crate::{
    error::{Code, Status},
    frame::{Payload, decode, decode_streamed, frame},
    incoming::Messages,
    stream::{Ending, Outgoing},
};

pub(crate) fn check(message: Bytes) -> Result<Bytes, Status> {
    let request: HealthCheckRequest = decode(message)?;
    if request.service.is_empty() {
        frame(&response(ServingStatus::Serving))
    } else {
        Err(Status::new(Code::NotFound, "unknown service"))
    }
}

/// All services that are known, with their states.
pub(crate) fn list(message: Bytes) -> Result<Bytes, Status> {
    let _: HealthListRequest = decode(message)?;
    let server = (String::new(), response(ServingStatus::Serving));
    frame(&HealthListResponse {
        statuses: [server].into(),
    })
}

/// Says the state once and stays open: a member that serves at all is serving.
pub(crate) async fn watch(messages: &mut Messages, out: &mut Outgoing<'_>) -> Result<(), Ending> {
    let (message, _) = messages.only().await?;
    out.count_received(message.len());
    let request: HealthCheckRequest = decode_streamed(message)?;
    let state = if request.service.is_empty() {
        ServingStatus::Serving
    } else {
        ServingStatus::ServiceUnknown
    };
    out.send(Payload::One(frame(&response(state))?), 1).await?;
    Err(out.gone().await)
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_itself_is_known() {
        assert_eq!(
            check(Bytes::new()).expect("serving")[..],
            *b"\0\0\0\0\x02\x08\x01"
        );
        let other = frame(&HealthCheckRequest {
            service: "etcd".to_owned(),
        })
        .expect("small");
        let refused = check(other.slice(5..)).expect_err("unknown");
        assert_eq!(
            (refused.code, &*refused.message),
            (Code::NotFound, "unknown service")
        );
    }
}
