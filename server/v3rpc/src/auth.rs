//! The Auth service: users, roles, and tokens for passwords.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use kvorum_core::Error;
use kvorum_member::{AuthenticateError, Caller, Handle, PasswordError};
use kvorum_proto::{
    etcdserverpb::{
        AuthDisableRequest, AuthEnableRequest, AuthEnableResponse, AuthRoleAddRequest,
        AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGrantPermissionRequest,
        AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthStatusRequest,
        AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
        AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserListRequest,
        AuthUserRevokeRoleRequest, AuthenticateRequest, AuthenticateResponse,
    },
    kvorumpb::{
        AuthDisable, AuthEnable, RoleGrant, RoleInterval, UserAdd, UserPassword, UserRole,
        auth_op::Op,
    },
};
use zeroize::Zeroizing;

use crate::{
    error::{Code, Status},
    frame::{decode, frame},
};

/// What an RPC of this service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Enable,
    Disable,
    Status,
    Authenticate,
    UserAdd,
    UserGet,
    UserList,
    UserDelete,
    UserChangePassword,
    UserGrantRole,
    UserRevokeRole,
    RoleAdd,
    RoleGet,
    RoleList,
    RoleDelete,
    RoleGrantPermission,
    RoleRevokePermission,
}

/// Answers one call.
pub(crate) async fn call(
    handle: &Handle,
    caller: &Caller,
    from: Option<IpAddr>,
    rpc: Auth,
    message: Bytes,
) -> Result<Bytes, Status> {
    let ask = Ask {
        handle,
        caller,
        from,
    };
    let op = match rpc {
        Auth::Authenticate => return ask.authenticate(decode(message)?).await,
        Auth::Status => {
            let _: AuthStatusRequest = decode(message)?;
            return frame(&handle.auth_status(caller).await?);
        }
        Auth::UserGet => {
            let request: AuthUserGetRequest = decode(message)?;
            return frame(&handle.user_get(caller, &request.name).await?);
        }
        Auth::UserList => {
            let _: AuthUserListRequest = decode(message)?;
            return frame(&handle.user_list(caller).await?);
        }
        Auth::RoleGet => {
            let request: AuthRoleGetRequest = decode(message)?;
            return frame(&handle.role_get(caller, &request.role).await?);
        }
        Auth::RoleList => {
            let _: AuthRoleListRequest = decode(message)?;
            return frame(&handle.role_list(caller).await?);
        }
        Auth::UserAdd => ask.user_add(decode(message)?).await?,
        Auth::UserChangePassword => ask.user_change_password(decode(message)?).await?,
        Auth::Enable => {
            let _: AuthEnableRequest = decode(message)?;
            Op::Enable(AuthEnable {})
        }
        Auth::Disable => {
            let _: AuthDisableRequest = decode(message)?;
            Op::Disable(AuthDisable {})
        }
        Auth::UserDelete => Op::UserDelete(decode::<AuthUserDeleteRequest>(message)?.name),
        Auth::UserGrantRole => {
            let AuthUserGrantRoleRequest { user, role } = decode(message)?;
            Op::UserGrantRole(UserRole { user, role })
        }
        Auth::UserRevokeRole => {
            let AuthUserRevokeRoleRequest { name, role } = decode(message)?;
            Op::UserRevokeRole(UserRole { user: name, role })
        }
        Auth::RoleAdd => Op::RoleAdd(decode::<AuthRoleAddRequest>(message)?.name),
        Auth::RoleDelete => Op::RoleDelete(decode::<AuthRoleDeleteRequest>(message)?.role),
        Auth::RoleGrantPermission => grant(decode(message)?),
        Auth::RoleRevokePermission => revoke(decode(message)?),
    };
    ask.change(op).await
}

fn grant(request: AuthRoleGrantPermissionRequest) -> Op {
    Op::RoleGrantPermission(RoleGrant {
        role: request.name,
        permission: request.perm,
    })
}

fn revoke(request: AuthRoleRevokePermissionRequest) -> Op {
    Op::RoleRevokePermission(RoleInterval {
        role: request.role,
        key: request.key,
        range_end: request.range_end,
    })
}

/// Who asks whom.
struct Ask<'a> {
    handle: &'a Handle,
    caller: &'a Caller,
    /// Where that is; none within this process.
    from: Option<IpAddr>,
}

impl Ask<'_> {
    /// Changes users or roles. The responses to all changes consist of the header, under the same number.
    async fn change(&self, op: Op) -> Result<Bytes, Status> {
        self.handle.auth_change(self.caller, op).await?;
        frame(&AuthEnableResponse {
            header: Some(self.handle.header(0)),
        })
    }

    async fn authenticate(&self, request: AuthenticateRequest) -> Result<Bytes, Status> {
        let password = Zeroizing::new(request.password);
        let token = self.handle.authenticate(self.from, &request.name, password);
        let token = token.await?;
        // Behind the password, so that strangers do not hear of it.
        self.handle.trust_accepts(&Caller::user(request.name, 0))?;
        frame(&AuthenticateResponse {
            header: Some(self.handle.header(0)),
            token,
        })
    }

    /// As in etcd 3.6, a hash that the request brings along counts for nothing here.
    async fn user_add(&self, request: AuthUserAddRequest) -> Result<Op, Status> {
        let password = Zeroizing::new(request.password);
        let no_password = request.options.is_some_and(|options| options.no_password);
        let password_hash = match no_password {
            true => Bytes::new(),
            false => self.handle.hash_password(password).await?,
        };
        Ok(Op::UserAdd(UserAdd {
            name: request.name,
            password_hash,
            no_password,
        }))
    }

    /// Without a password, the hash that the request brings along is taken; without both, nobody can log in any more.
    async fn user_change_password(
        &self,
        request: AuthUserChangePasswordRequest,
    ) -> Result<Op, Status> {
        let password = Zeroizing::new(request.password);
        let password_hash = match password.is_empty() {
            true => STANDARD
                .decode(&request.hashed_password)
                .map_err(|_| Error::NoPasswordUser)?
                .into(),
            false => self.handle.hash_password(password).await?,
        };
        Ok(Op::UserChangePassword(UserPassword {
            name: request.name,
            password_hash,
        }))
    }
}

/// etcd passes Go's and its own texts on without a code.
impl From<PasswordError> for Status {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::TooLong => Self::new(Code::Unknown, error.to_string()),
            PasswordError::Busy => Error::Timeout.into(),
            PasswordError::System => Self::internal(format!("kvorum: {error}")),
        }
    }
}

impl From<AuthenticateError> for Status {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Refused(refused) => refused.into(),
            AuthenticateError::Password(refused) => refused.into(),
            // The text of etcd for too much at once, with the code that says so.
            AuthenticateError::TooMany => Self::new(Code::ResourceExhausted, error.to_string()),
            AuthenticateError::VerifyOnly => Self::new(Code::Unknown, error.to_string()),
            AuthenticateError::Key => Self::internal(format!("kvorum: {error}")),
        }
    }
}
