//! `GET` of a listing or of the metrics: asks for the document and sends it.

use std::pin::pin;

use super::{documents, target::Target};
use crate::{
    conn::step::Step,
    http::{method::Method, reply::Persistence},
    model::reply::Reply,
    shard::{mesh::Subject, session::Session},
};

/// Answers with the next document about `subject`.
pub fn ask(target: &Target<'_>, subject: Subject) -> Step {
    Step::work(answer(
        target.session.clone(),
        (target.head.method, target.persistence()),
        subject,
    ))
}

async fn answer(
    session: Session,
    (method, asked): (Method, Persistence),
    subject: Subject,
) -> Step {
    session.limit_reply();
    let document = pin!(documents::ask(&session.shard, subject));
    match session.conn.or_stopped(document).await {
        Ok(Some(Ok((media_type, body)))) => {
            Step::Reply(Reply::document(asked, media_type, body).to(method))
        }
        Ok(Some(Err(refusal))) => Step::Reply(Reply::refuse(asked, &refusal).to(method)),
        Ok(None) | Err(_) => session.cut(),
    }
}
