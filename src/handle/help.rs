//! What people, crawlers and watchdogs ask for: the help page, and whether the server is well.

use super::target::Target;
use crate::{
    conn::step::Step,
    model::{audience::Audience, refusal::Refusal},
};

/// `GET /`: what to do here, with lines that work when pasted.
pub fn help(target: &Target<'_>) -> Step {
    let host = host(target);
    // Where listings are for operators alone, clients are not sent to one.
    let in_use = match target.session.conn.audience {
        Audience::Clients => "End what waits or moves on a channel:\n".to_owned(),
        Audience::Everyone | Audience::Operators => {
            format!("What is in use, and how to end it:\n\x20 curl http://{host}/state\n")
        }
    };
    let text = format!(
        "httpipe passes what one HTTP client sends to another, over named channels. Nothing is stored:\n\
         whoever comes first waits for the other.\n\
         \n\
         Send, and wait until somebody takes it:\n\
         \x20 curl -d 'hello' http://{host}/channels/demo/greeting\n\
         Receive, in another terminal:\n\
         \x20 curl http://{host}/channels/demo/greeting\n\
         \n\
         Send a file, and receive it:\n\
         \x20 curl -T /etc/os-release http://{host}/channels/demo/file\n\
         \x20 curl -o os-release http://{host}/channels/demo/file\n\
         Stream a command's output:\n\
         \x20 ls -l | curl -T - http://{host}/channels/demo/stream\n\
         \x20 curl -N http://{host}/channels/demo/stream\n\
         \n\
         {in_use}\
         \x20 curl -X DELETE http://{host}/channels/demo/greeting\n"
    );
    target.text(text)
}

/// The name by which the client knows this server, if it is safe to paste into a shell: a host name may
/// contain characters that a shell would interpret (RFC 3986 §3.2.2).
fn host(target: &Target<'_>) -> String {
    let said = target.head.host.of(target.bytes);
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(byte);
    if said.is_empty() || !said.iter().all(harmless) {
        let port = target.session.shard.shared.port;
        return port.map_or("localhost".to_owned(), |port| format!("localhost:{port}"));
    }
    String::from_utf8_lossy(said).into_owned()
}

/// `GET /robots.txt`: crawlers stay away (RFC 9309), because to follow a link here is to consume.
pub fn robots(target: &Target<'_>) -> Step {
    target.text("User-agent: *\nDisallow: /\n")
}

/// `GET /healthz`: the server is alive.
pub fn health(target: &Target<'_>) -> Step {
    target.text("ok\n")
}

/// `GET /readyz`: 200 while the server accepts requests, 503 during a drain.
pub fn ready(target: &Target<'_>) -> Step {
    if target.session.shard.draining.get() {
        return target.refuse(&Refusal::DRAINING);
    }
    target.text("ok\n")
}
