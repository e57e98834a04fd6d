//! Rules for any producer's request that is kept while it waits, however its body arrives. Pure.

use super::input::Input;
use httpipe::testing::{
    http::{
        chunked::ChunkedError,
        head::{BodyLength, Parsed, RequestHead, parse},
    },
    model::request::ProducerRequest,
};

/// What is kept of a request when all its bytes have arrived.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    payload: Vec<u8>,
    whole: bool,
    rest: Vec<u8>,
}

/// A request is the same whether its body arrived with its head or in any pieces after it, and
/// whether or not the received bytes were sent on in between.
///
/// # Panics
/// If one of the rules does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else {
        return;
    };
    let Ok(Parsed::Complete(head)) = parse(input.bytes) else {
        return;
    };
    let (head_bytes, body) = input.bytes.split_at(head.head_bytes.into());
    let whole = keep(&head, head_bytes, &[body], false);
    let front = body.len().min(input.bytes.len() % 7);
    let with_head = &input.bytes[..head_bytes.len() + front];
    let pieces = Input {
        bytes: &body[front..],
        ..input
    }
    .pieces();
    assert_eq!(keep(&head, with_head, &pieces, false), whole, "in pieces");
    assert_eq!(
        keep(&head, with_head, &pieces, true),
        whole,
        "sent on in between"
    );
    assert_eq!(keep(&head, input.bytes, &[], false), whole, "with its head");
    if let (BodyLength::Exact(bytes), Ok(kept)) = (head.body, &whole) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(body.len());
        assert_eq!((&kept.payload[..], &kept.rest[..]), body.split_at(bytes));
    }
}

/// Feeds `pieces` until the body ends, as an exchange does; does not take what follows.
fn keep(
    head: &RequestHead,
    front: &[u8],
    pieces: &[&[u8]],
    sent_on: bool,
) -> Result<Kept, ChunkedError> {
    let mut request = ProducerRequest::new(head, front)?;
    let mut payload = Vec::new();
    let mut pieces = pieces.iter();
    while !request.is_whole() {
        let Some(piece) = pieces.next() else {
            break;
        };
        let before = request.payload().len();
        request.push(piece)?;
        assert!(request.payload().len() >= before);
        assert!(request.is_begun() || front.len() + piece.len() == usize::from(head.head_bytes));
        if sent_on {
            payload.extend_from_slice(request.payload());
            request.drop_payload();
            assert!(request.payload().is_empty());
        }
    }
    assert_eq!(request.head_bytes(), &front[..usize::from(head.head_bytes)]);
    payload.extend_from_slice(request.payload());
    let mut rest = request.take_rest().to_vec();
    assert!(request.take_rest().is_empty() && (rest.is_empty() || request.is_whole()));
    rest.extend(pieces.copied().flatten());
    Ok(Kept {
        payload,
        whole: request.is_whole(),
        rest,
    })
}
