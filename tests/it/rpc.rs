//! A bare gRPC client over the messages of `kvorum-proto`: nothing is checked or retried on the client's side, so
//! that a test sees exactly what a server answers.

use std::{io, marker::PhantomData, net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use kvorum_proto::etcdserverpb as pb;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// A request and what belongs to it.
pub(crate) trait Call: Message + Send + Sync + 'static {
    type Answer: Message + Default + Send + Sync + 'static;
    const PATH: &'static str;
}

macro_rules! calls {
    ($($path:literal: $request:ident => $answer:ident,)*) => {
        $(impl Call for pb::$request {
            type Answer = pb::$answer;
            const PATH: &'static str = concat!("/etcdserverpb.", $path);
        })*
    };
}

calls! {
    "KV/Range": RangeRequest => RangeResponse,
    "KV/Put": PutRequest => PutResponse,
    "KV/DeleteRange": DeleteRangeRequest => DeleteRangeResponse,
    "KV/Txn": TxnRequest => TxnResponse,
    "KV/Compact": CompactionRequest => CompactionResponse,
    "Watch/Watch": WatchRequest => WatchResponse,
    "Lease/LeaseGrant": LeaseGrantRequest => LeaseGrantResponse,
    "Lease/LeaseRevoke": LeaseRevokeRequest => LeaseRevokeResponse,
    "Lease/LeaseKeepAlive": LeaseKeepAliveRequest => LeaseKeepAliveResponse,
    "Lease/LeaseTimeToLive": LeaseTimeToLiveRequest => LeaseTimeToLiveResponse,
    "Lease/LeaseLeases": LeaseLeasesRequest => LeaseLeasesResponse,
    "Cluster/MemberAdd": MemberAddRequest => MemberAddResponse,
    "Cluster/MemberList": MemberListRequest => MemberListResponse,
    "Cluster/MemberPromote": MemberPromoteRequest => MemberPromoteResponse,
    "Cluster/MemberRemove": MemberRemoveRequest => MemberRemoveResponse,
    "Cluster/MemberUpdate": MemberUpdateRequest => MemberUpdateResponse,
    "Maintenance/Alarm": AlarmRequest => AlarmResponse,
    "Maintenance/Status": StatusRequest => StatusResponse,
    "Maintenance/Defragment": DefragmentRequest => DefragmentResponse,
    "Maintenance/Hash": HashRequest => HashResponse,
    "Maintenance/HashKV": HashKvRequest => HashKvResponse,
    "Maintenance/MoveLeader": MoveLeaderRequest => MoveLeaderResponse,
    "Maintenance/Snapshot": SnapshotRequest => SnapshotResponse,
    "Auth/AuthEnable": AuthEnableRequest => AuthEnableResponse,
    "Auth/AuthDisable": AuthDisableRequest => AuthDisableResponse,
    "Auth/AuthStatus": AuthStatusRequest => AuthStatusResponse,
    "Auth/Authenticate": AuthenticateRequest => AuthenticateResponse,
    "Auth/UserAdd": AuthUserAddRequest => AuthUserAddResponse,
    "Auth/UserGet": AuthUserGetRequest => AuthUserGetResponse,
    "Auth/UserList": AuthUserListRequest => AuthUserListResponse,
    "Auth/UserDelete": AuthUserDeleteRequest => AuthUserDeleteResponse,
    "Auth/UserChangePassword": AuthUserChangePasswordRequest => AuthUserChangePasswordResponse,
    "Auth/UserGrantRole": AuthUserGrantRoleRequest => AuthUserGrantRoleResponse,
    "Auth/UserRevokeRole": AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse,
    "Auth/RoleAdd": AuthRoleAddRequest => AuthRoleAddResponse,
    "Auth/RoleGet": AuthRoleGetRequest => AuthRoleGetResponse,
    "Auth/RoleList": AuthRoleListRequest => AuthRoleListResponse,
    "Auth/RoleDelete": AuthRoleDeleteRequest => AuthRoleDeleteResponse,
    "Auth/RoleGrantPermission": AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse,
    "Auth/RoleRevokePermission": AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse,
}

/// One connection to a server.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    channel: Channel,
}

impl Rpc {
    pub(crate) async fn connect(url: &str) -> Result<Self, tonic::transport::Error> {
        // A dead server must not hold a test: the connection notices it by itself.
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        Ok(Self {
            channel: endpoint.connect().await?,
        })
    }

    /// Connects from an address of one's own, so as to be another client than others on this machine.
    pub(crate) async fn connect_from(
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Self, tonic::transport::Error> {
        let connector = tower::service_fn(move |_| async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(from)?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        });
        let endpoint = Endpoint::from_static("http://127.0.0.1");
        Ok(Self {
            channel: endpoint.connect_with_connector(connector).await?,
        })
    }

    /// Connects by TLS, whatever name the server has.
    pub(crate) async fn connect_tls(
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> Result<Self, tonic::transport::Error> {
        let connector = tower::service_fn(move |_| {
            let tls = TlsConnector::from(Arc::clone(&config));
            async move {
                let socket = TcpStream::connect(address).await?;
                let name = ServerName::from(address.ip());
                Ok::<_, io::Error>(TokioIo::new(tls.connect(name, socket).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://127.0.0.1").tcp_nodelay(true);
        Ok(Self {
            channel: endpoint.connect_with_connector(connector).await?,
        })
    }

    /// As `call`, with headers.
    pub(crate) async fn with<Q: Call>(
        &self,
        metadata: &MetadataMap,
        request: Q,
    ) -> Result<Q::Answer, Status> {
        self.call_with(Q::PATH, request, metadata.clone()).await
    }

    /// Sends one message to any method and gives the first answer. A server that streams looks no different from one
    /// that does not.
    pub(crate) async fn first<Q, A>(
        &self,
        method: &kvorum_proto::Method,
        message: Q,
        metadata: MetadataMap,
    ) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(message);
        *request.metadata_mut() = metadata;
        let path = PathAndQuery::try_from(method.path()).expect("a path");
        let answers = grpc.server_streaming(request, path, Wire::new()).await?;
        let first = answers.into_inner().message().await?;
        first.ok_or_else(|| Status::aborted("the server ended the stream"))
    }

    /// Sends one request, returns its answer.
    pub(crate) async fn call<Q: Call>(&self, request: Q) -> Result<Q::Answer, Status> {
        self.call_with(Q::PATH, request, MetadataMap::new()).await
    }

    /// Sends any message to any path, with these headers.
    pub(crate) async fn call_with<Q, A>(
        &self,
        path: &'static str,
        request: Q,
        metadata: MetadataMap,
    ) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        *request.metadata_mut() = metadata;
        let path = PathAndQuery::from_static(path);
        Ok(grpc.unary(request, path, Wire::new()).await?.into_inner())
    }

    /// Opens a stream in both directions.
    pub(crate) fn open<Q: Call>(&self) -> Duplex<Q> {
        self.open_with(MetadataMap::new())
    }

    /// The same, with headers.
    pub(crate) fn open_with<Q: Call>(&self, metadata: MetadataMap) -> Duplex<Q> {
        let mut grpc = self.grpc();
        let (requests, waiting) = mpsc::channel(1024);
        // A server may send its headers with the first answer only, which needs a request first.
        let opening = tokio::spawn(async move {
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let mut request = Request::new(ReceiverStream::new(waiting));
            *request.metadata_mut() = metadata;
            let path = PathAndQuery::from_static(Q::PATH);
            let answers = grpc.streaming(request, path, Wire::new()).await?;
            Ok(answers.into_inner())
        });
        Duplex {
            requests,
            answers: Answers::Opening(opening),
        }
    }

    fn grpc(&self) -> tonic::client::Grpc<Channel> {
        tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }
}

/// A stream in both directions.
pub(crate) struct Duplex<Q: Call> {
    pub(crate) requests: mpsc::Sender<Q>,
    answers: Answers<Q::Answer>,
}

enum Answers<A> {
    Opening(JoinHandle<Result<Streaming<A>, Status>>),
    Open(Box<Streaming<A>>),
}

impl<Q: Call> Duplex<Q> {
    pub(crate) async fn send(&self, request: Q) {
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
    }

    /// The next answer; an error if the server ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Q::Answer, Status> {
        if let Answers::Opening(opening) = &mut self.answers {
            let opened = opening
                .await
                .map_err(|error| Status::internal(error.to_string()))?;
            self.answers = Answers::Open(Box::new(opened?));
        }
        let Answers::Open(answers) = &mut self.answers else {
            unreachable!("opened above")
        };
        let answer = answers.message().await?;
        answer.ok_or_else(|| Status::aborted("the server ended the stream"))
    }
}

impl Duplex<pb::WatchRequest> {
    pub(crate) async fn create(&self, create: pb::WatchCreateRequest) {
        self.union(pb::watch_request::RequestUnion::CreateRequest(create))
            .await;
    }

    pub(crate) async fn cancel(&self, watch_id: i64) {
        let cancel = pb::WatchCancelRequest { watch_id };
        self.union(pb::watch_request::RequestUnion::CancelRequest(cancel))
            .await;
    }

    pub(crate) async fn progress(&self) {
        let progress = pb::WatchProgressRequest {};
        self.union(pb::watch_request::RequestUnion::ProgressRequest(progress))
            .await;
    }

    async fn union(&self, union: pb::watch_request::RequestUnion) {
        self.send(pb::WatchRequest {
            request_union: Some(union),
        })
        .await;
    }
}

/// Bytes sent as they are, to say what no proper client says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raw(pub(crate) Bytes);

impl Message for Raw {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        number: u32,
        wire_type: prost::encoding::WireType,
        buffer: &mut impl Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire_type, number, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Encodes one message type, decodes another.
struct Wire<Q, A>(PhantomData<fn(Q) -> A>);

impl<Q, A> Wire<Q, A> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Q, A> Codec for Wire<Q, A>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    type Encode = Q;
    type Decode = A;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self::new()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::new()
    }
}

impl<Q: Message, A> Encoder for Wire<Q, A> {
    type Item = Q;
    type Error = Status;

    fn encode(&mut self, item: Q, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl<Q, A: Message + Default> Decoder for Wire<Q, A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        A::decode(buffer)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
