//! From a parsed head to an answer: one file a verb.
//!
//! [`request`] decides what a request asks for, and [`Target`] carries it to the verb's function.

pub mod consume;
pub mod delete;
pub mod drop_body;
pub mod help;
pub mod list;
pub mod produce;

use std::rc::Rc;

use bytes::Bytes;

use crate::{
    conn::{Conn, Standing, Step},
    http::{
        head::{BodyLength, Method, RequestHead},
        reply::Persistence,
    },
    model::{
        refusal::Refusal,
        request::Request,
        route::{self, ChannelName, Offer, Route, RouteError},
    },
    shard::{Shard, mesh::Question, session},
};

/// A request in hand, and where: the shard and the connection it came to, its head, and all bytes that
/// were read with it.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The shard.
    pub shard: &'a Rc<Shard>,
    /// The connection.
    pub conn: &'a Rc<Conn>,
    /// The head; its spans point into `bytes`.
    pub head: &'a RequestHead,
    /// The head's bytes and what was read along with them.
    pub bytes: &'a [u8],
    /// The same bytes where they are shared ones, so that keeping some costs no copy.
    pub held: Option<&'a Bytes>,
}

impl Target<'_> {
    /// What the client asked for its connection.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        Persistence::of(self.head)
    }

    /// The bytes behind the head.
    #[must_use]
    pub fn behind_head(&self) -> &[u8] {
        &self.bytes[usize::from(self.head.head_bytes)..]
    }

    /// The request as one that can leave this turn.
    #[must_use]
    pub fn to_request(&self) -> Request {
        Request {
            head: *self.head,
            bytes: self
                .held
                .map_or_else(|| Bytes::copy_from_slice(self.bytes), Bytes::clone),
        }
    }

    /// How many bytes head and body have together, if all of them are in hand.
    #[must_use]
    pub fn whole_bytes(&self) -> Option<usize> {
        let BodyLength::Exact(body) = self.head.body else {
            return None;
        };
        let body = usize::try_from(body)
            .ok()
            .filter(|&body| body <= self.behind_head().len())?;
        Some(usize::from(self.head.head_bytes) + body)
    }

    /// Keeps what was read behind the first `used` bytes for the next request.
    pub fn keep_rest(&self, used: usize) {
        if used < self.bytes.len() {
            self.conn.keep_unread(match self.held {
                Some(held) => held.slice(used..),
                None => Bytes::copy_from_slice(&self.bytes[used..]),
            });
        }
    }

    /// Keeps what was read behind a request whose body, if it had one, is in hand.
    pub fn keep_rest_of_bodiless(&self) {
        if let Some(used) = self.whole_bytes() {
            self.keep_rest(used);
        }
    }

    /// Answers with a refusal.
    pub fn refuse(&self, refusal: &Refusal) -> Step {
        self.keep_rest_of_bodiless();
        // Behind a CONNECT comes whatever the client would have sent through the tunnel.
        let body_unread = self.whole_bytes().is_none() || self.head.method == Method::Connect;
        let refusal = Refusal {
            head_only: self.head.method == Method::Head,
            ..*refusal
        };
        session::refuse(
            self.shard,
            self.conn,
            self.persistence(),
            body_unread,
            &refusal,
        )
    }
}

/// Answers the request of `target`, or brings it on its way.
pub fn request(target: &Target<'_>) -> Step {
    target.shard.counters.requests.add(1);
    take_up(target)
}

/// As [`request`], for a request that was counted already: another shard read its head.
pub fn take_up(target: &Target<'_>) -> Step {
    let &Target { shard, conn, .. } = target;
    conn.arrived.set(shard.clock.read());
    if shard.shared.access.is_some() {
        let peer = || conn.socket.peer_name();
        conn.line.begin(Some(target.head.method), peer);
    }
    dispatch(target)
}

/// As [`take_up`], for a request that was taken up already: its body is out of the way now.
pub fn dispatch(target: &Target<'_>) -> Step {
    target.shard.busy_poll.request_came();
    let offer = match target.conn.standing {
        Standing::Client => target.shard.shared.offer,
        Standing::Operator => Offer::Admin,
        Standing::Excess => return target.refuse(&Refusal::TOO_MANY_CONNECTIONS),
    };
    let asked = target.head.target.of(target.bytes);
    let route = route::parse(offer, target.head.method, asked);
    if let (Ok(route), Some(log)) = (&route, &target.shard.shared.access) {
        target.conn.line.asks(log, route);
    }
    match route {
        Err(RouteError::NotFound) if offer == Offer::Admin => {
            target.refuse(&Refusal::NOT_FOR_OPERATORS)
        }
        Err(error) => target.refuse(&Refusal::from(error)),
        Ok(Route::Produce(_) | Route::Consume(_)) if target.shard.draining.get() => {
            target.refuse(&Refusal::DRAINING)
        }
        Ok(Route::Produce(name)) => here(target, &name, produce::produce),
        Ok(_) if target.whole_bytes().is_none() => drop_body::drop_body(target),
        Ok(Route::Consume(name)) => here(target, &name, consume::consume),
        Ok(Route::DeleteChannel(name)) => here(target, &name, delete::channel),
        Ok(other) => anywhere(target, other),
    }
}

/// Lets `handle` answer if this shard owns the channel; otherwise the connection goes to the shard
/// that does, with every byte that was read on it.
fn here(
    target: &Target<'_>,
    name: &ChannelName<'_>,
    handle: impl FnOnce(&Target<'_>, u64, &ChannelName<'_>) -> Step,
) -> Step {
    let mesh = &target.shard.shared.mesh;
    let hash = mesh.hash(&name.namespace, &name.channel);
    let owner = mesh.owner(hash);
    if owner == target.shard.index {
        return handle(target, hash, name);
    }
    Step::HandOver(owner, Box::new(target.to_request()))
}

/// Answers what any shard can.
fn anywhere(target: &Target<'_>, route: Route<'_>) -> Step {
    let &Target { shard, conn, .. } = target;
    let asked = target.persistence();
    target.keep_rest_of_bodiless();
    match route {
        Route::DeleteNamespace(name) => delete::namespace(target, name.into_owned()),
        Route::ListNamespaces => list::ask(target, Question::Channels(None), list::namespaces),
        Route::ListChannels(name) => list::ask(
            target,
            Question::Channels(Some(name.into_owned())),
            list::channels,
        ),
        Route::State => list::ask(target, Question::Channels(None), list::state),
        Route::Metrics => list::ask(target, Question::Metrics, list::metrics),
        Route::Help => help::help(target),
        Route::Health => help::health(target),
        Route::Ready => help::ready(target),
        Route::Options(allow) => session::no_content(shard, conn, asked, Some(allow.as_str())),
        Route::Produce(_) | Route::Consume(_) | Route::DeleteChannel(_) => {
            unreachable!("these have an owner")
        }
    }
}
