//! Changes of users and roles, and questions about them. (etcd: server/etcdserver/v3_server.go)
//!
//! Changes go through the log. Questions do not, other than in etcd: what a member has applied after a barrier answers
//! them as well.

use std::sync::Arc;

use kvorum_core::Error;
use kvorum_core::auth::{AuthStore, Caller, Need};
use kvorum_core::reply::{AuthReply, Reply};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{AuthOp, TokenIssued, auth_op, command::Op};

use crate::handle::Handle;

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl Handle {
    /// Changes users or roles, or whether they count.
    ///
    /// # Errors
    /// It breaks a rule of ETCD.md 2.11, the caller may not do it, or the cluster cannot take it now.
    pub async fn auth_change(
        &self,
        caller: &Caller,
        change: auth_op::Op,
    ) -> Result<AuthReply, Error> {
        self.check_fresh(caller)?;
        let op = Op::Auth(AuthOp { op: Some(change) });
        match self.propose(caller, op).await? {
            Reply::Auth(reply) => Ok(reply),
            // The machine answers each command with its own kind of reply.
            _ => Err(Error::Stopped),
        }
    }

    /// Tells all members of a token, by its digest, whose owner gave the right password. `checked_auth_revision` is that
    /// of the tables which the password was compared with.
    ///
    /// # Errors
    /// `AuthOldRevision` if users or roles have changed since: compare again. Authentication is off, the user is gone,
    /// or the cluster cannot take it now.
    pub async fn issue_token(
        &self,
        user: &str,
        token_sha256: [u8; 32],
        checked_auth_revision: u64,
    ) -> Result<AuthReply, Error> {
        let issued = TokenIssued {
            user: user.to_owned(),
            token_sha256: token_sha256.to_vec().into(),
            auth_revision: checked_auth_revision,
        };
        let op = auth_op::Op::TokenIssued(issued);
        self.auth_change(&Caller::own(), op).await
    }

    /// Users and roles as of now, for who may have what is needed.
    async fn auth_for(&self, caller: &Caller, need: Need<'_>) -> Result<Arc<AuthStore>, Error> {
        self.read_barrier().await?;
        self.permit(caller, &[need])?;
        Ok(self.auth())
    }

    /// Whether users and roles count.
    ///
    /// # Errors
    /// The caller has not the role root, or nobody can tell that the answer is current.
    pub async fn auth_status(&self, caller: &Caller) -> Result<pb::AuthStatusResponse, Error> {
        let auth = self.auth_for(caller, Need::Admin).await?;
        Ok(pb::AuthStatusResponse {
            header: Some(self.header(0)),
            enabled: auth.is_enabled(),
            auth_revision: auth.revision(),
        })
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// There is none, the caller is another one without the role root, or nobody can tell that the answer is current.
    pub async fn user_get(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<pb::AuthUserGetResponse, Error> {
        let auth = self.auth_for(caller, Need::OwnUser(name)).await?;
        let user = auth.user(name).ok_or(Error::UserNotFound)?;
        Ok(pb::AuthUserGetResponse {
            header: Some(self.header(0)),
            roles: user.roles.clone(),
        })
    }

    /// All users.
    ///
    /// # Errors
    /// The caller has not the role root, or nobody can tell that the answer is current.
    pub async fn user_list(&self, caller: &Caller) -> Result<pb::AuthUserListResponse, Error> {
        let auth = self.auth_for(caller, Need::Admin).await?;
        Ok(pb::AuthUserListResponse {
            header: Some(self.header(0)),
            users: auth.users().map(|user| text(&user.name)).collect(),
        })
    }

    /// What a role permits.
    ///
    /// # Errors
    /// There is none, the caller has neither it nor the role root, or nobody can tell that the answer is current.
    pub async fn role_get(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<pb::AuthRoleGetResponse, Error> {
        let auth = self.auth_for(caller, Need::OwnRole(name)).await?;
        Ok(pb::AuthRoleGetResponse {
            header: Some(self.header(0)),
            perm: auth.permissions(name)?,
        })
    }

    /// All roles.
    ///
    /// # Errors
    /// The caller has not the role root, or nobody can tell that the answer is current.
    pub async fn role_list(&self, caller: &Caller) -> Result<pb::AuthRoleListResponse, Error> {
        let auth = self.auth_for(caller, Need::Admin).await?;
        Ok(pb::AuthRoleListResponse {
            header: Some(self.header(0)),
            roles: auth.roles().map(|role| text(&role.name)).collect(),
        })
    }
}
