//! From a parsed head to a reply: one file per verb.
//!
//! [`request`] decides what a request asks for and passes the [`Target`] to the verb's function, which
//! returns a [`Step`]: nothing is sent here.

pub mod consume;
pub mod delete;
pub mod documents;
pub mod drop_body;
pub mod guard;
pub mod help;
pub mod list;
pub mod own_share;
pub mod produce;
pub mod target;

use crate::{
    conn::step::{Next, Step},
    model::{
        audience::Audience,
        refusal::Refusal,
        reply::Reply,
        route::{self, ChannelName, Route, RouteError},
    },
    shard::{mesh::Subject, session::Session},
};

use self::target::Target;

/// Decides on a request whose head was just read.
pub fn request(target: &Target<'_>) -> Step {
    target.session.shard.counters.requests.add(1);
    begin_request(target)
}

/// As [`request`], for a request that was counted already: another shard read its head.
pub fn begin_request(target: &Target<'_>) -> Step {
    let Session { shard, conn } = target.session;
    conn.arrived.set(shard.clock.read());
    if shard.shared.access.is_some() {
        let peer = || conn.transport.peer_name();
        conn.line.begin(Some(target.head.method), peer);
    }
    dispatch(target)
}

/// Routes a request that has begun. Called again after an unwanted body was dropped.
fn dispatch(target: &Target<'_>) -> Step {
    let Session { shard, conn } = target.session;
    shard.busy_poll.request_came();
    if conn.over_limit {
        return target.refuse(&Refusal::TOO_MANY_CONNECTIONS);
    }
    let asked = target.head.target.of(target.bytes);
    let route = route::parse(conn.audience, target.head.method, asked);
    if let (Ok(route), Some(log)) = (&route, &shard.shared.access) {
        conn.line.asks(log, route);
    }
    if let Err(refusal) = guard::check(target, &route) {
        return target.refuse(&refusal);
    }
    match route {
        Err(RouteError::NotFound) if conn.audience == Audience::Operators => {
            target.refuse(&Refusal::NOT_FOR_OPERATORS)
        }
        Err(error) => target.refuse(&Refusal::from(error)),
        Ok(Route::Produce(_) | Route::Consume(_)) if shard.draining.get() => {
            target.refuse(&Refusal::DRAINING)
        }
        Ok(Route::Produce(name)) => on_owner(target, &name, produce::produce),
        Ok(_) if target.whole_bytes().is_none() => drop_body::drop_body(target, dispatch),
        Ok(Route::Consume(_)) if target.head.begins_later => target.refuse(&Refusal::RANGE),
        Ok(Route::Consume(name)) => on_owner(target, &name, consume::consume),
        Ok(Route::DeleteChannel(name)) => on_owner(target, &name, delete::channel),
        Ok(other) => on_any_shard(target, other),
    }
}

/// Lets `handle` decide if this shard owns the channel; otherwise the connection goes to the shard
/// that does, with every byte that was read on it.
#[inline(always)]
fn on_owner(
    target: &Target<'_>,
    name: &ChannelName<'_>,
    handle: impl FnOnce(&Target<'_>, u64, &ChannelName<'_>) -> Step,
) -> Step {
    let shard = &target.session.shard;
    let mesh = &shard.shared.mesh;
    let hash = mesh.hash(&name.namespace, &name.channel);
    let owner = mesh.owner(hash);
    if owner == shard.index {
        return handle(target, hash, name);
    }
    Step::Next(Next::HandOver(owner, Box::new(target.to_request())))
}

/// Decides on what any shard can answer.
fn on_any_shard(target: &Target<'_>, route: Route<'_>) -> Step {
    target.keep_rest();
    match route {
        Route::DeleteNamespace(name) => delete::namespace(target, name.into_owned()),
        Route::ListNamespaces => list::ask(target, Subject::Namespaces),
        Route::ListChannels(name) => list::ask(target, Subject::Namespace(name.into_owned())),
        Route::State => list::ask(target, Subject::State),
        Route::Metrics => list::ask(target, Subject::Metrics),
        Route::Help => help::help(target),
        Route::Robots => help::robots(target),
        Route::Health => help::health(target),
        Route::Ready => help::ready(target),
        Route::Options(allow) => Step::Reply(Reply::no_content(target.persistence(), Some(allow))),
        Route::Produce(_) | Route::Consume(_) | Route::DeleteChannel(_) => {
            unreachable!("these have an owner")
        }
    }
}
