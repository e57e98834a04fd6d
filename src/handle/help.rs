//! What people and watchdogs ask for: the help page, and whether the server is well.

use super::Target;
use crate::{
    answer,
    conn::Step,
    error::{Refusal, Status},
};

const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /`: what to do here, with lines that work when pasted.
pub fn help(target: &Target<'_>) -> Step {
    let host = target.host();
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
         \x20 curl -T FILE http://{host}/channels/demo/file\n\
         \x20 curl -o FILE http://{host}/channels/demo/file\n\
         Stream a command's output:\n\
         \x20 ls -l | curl -T - http://{host}/channels/demo/stream\n\
         \x20 curl -N http://{host}/channels/demo/stream\n\
         \n\
         What is in use, and how to end it:\n\
         \x20 curl http://{host}/state\n\
         \x20 curl -X DELETE http://{host}/channels/demo/greeting\n"
    );
    document(target, &text)
}

/// `GET /healthz`: the server is alive.
pub fn health(target: &Target<'_>) -> Step {
    document(target, "ok\n")
}

/// `GET /readyz`: the server takes requests; 503 once it was told to end.
pub fn ready(target: &Target<'_>) -> Step {
    if target.shard.draining.get() {
        return target.refuse(&Refusal::DRAINING);
    }
    document(target, "ok\n")
}

fn document(target: &Target<'_>, text: &str) -> Step {
    let asked = target.persistence();
    answer::document(
        target.shard,
        target.conn,
        asked,
        Status::Ok,
        TEXT,
        text.as_bytes(),
    )
}
