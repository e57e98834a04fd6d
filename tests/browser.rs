//! A real browser against `web_pages`: whatever a page of another origin tries takes and changes
//! nothing, and a link that a person clicks is served. On localhost, where browsers say where a request
//! is from.

use crate::support::chromium::Chromium;
use crate::support::request::post_head_with;
use crate::support::server::Server;
use crate::support::{Side, skip, until};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Pages of another origin: what each has in it, and how many requests it makes. `TAKE` stands for the
/// URL of a channel with a producer, `GIVE` for one with a consumer.
const ATTEMPTS: [(&str, &str, u64); 8] = [
    ("image", "<img src=TAKE>", 1),
    ("script", "<script src=TAKE></script>", 1),
    ("frame", "<iframe src=TAKE></iframe>", 1),
    ("prefetch", "<link rel=prefetch href=TAKE>", 1),
    ("location", "<script>location = 'TAKE'</script>", 1),
    (
        "form",
        "<form method=post action=GIVE><input name=a value=b></form>
         <script>document.forms[0].submit()</script>",
        1,
    ),
    (
        "fetch",
        "<script>fetch('TAKE'); fetch('TAKE', {mode: 'no-cors'});
         fetch('GIVE', {method: 'POST', mode: 'no-cors', body: 'x'})</script>",
        3,
    ),
    (
        "beacon",
        "<script>navigator.sendBeacon('GIVE', 'x')</script>",
        1,
    ),
];

const LINK: &str = "<a href=TAKE style='position: fixed; inset: 0'>take it</a>";

/// Serves [`ATTEMPTS`] and the link, each under its name; returns the port.
fn serve_pages(server: &Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let url = |channel: &str| url(server, &format!("/channels/pages/{channel}"));
    let (take, give) = (url("taken"), url("given"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (take, give) = (take.clone(), give.clone());
            std::thread::spawn(move || serve_page(stream.expect("a client"), &take, &give));
        }
    });
    port
}

/// Answers one request; the browser may also connect and ask for nothing.
fn serve_page(mut stream: TcpStream, take: &str, give: &str) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.find(String::is_empty);
    let name = first.split(['/', ' ']).nth(2).unwrap_or_default();
    let known = ATTEMPTS.iter().find(|(known, ..)| *known == name);
    let body = known.map_or(LINK, |(_, body, _)| body);
    let body = body.replace("TAKE", take).replace("GIVE", give);
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html";
    // The browser may have left.
    let _ = write!(stream, "{head}\r\n\r\n<!doctype html>{body}");
}

fn url(server: &Server, target: &str) -> String {
    format!("http://localhost:{}{target}", server.address().port())
}

/// Waits until this many more requests were refused than `before`.
fn until_refused(server: &Server, before: u64, more: u64, what: &str) {
    until(&format!("{what} to be refused"), || {
        (refused(server) >= before + more).then_some(())
    });
}

/// By questions: in a sandbox, no script of the page would tell.
fn until_loaded(chromium: &mut Chromium) {
    until("the page to be loaded", || {
        (chromium.run("document.readyState") == "complete").then_some(())
    });
}

fn refused(server: &Server) -> u64 {
    let metrics = server.metrics();
    metrics.value("httpipe_refusals_total{kind=\"web_page\"}")
}

#[test]
fn a_page_in_chromium_takes_and_changes_nothing_and_a_click_does() {
    let Some(mut chromium) = Chromium::start() else {
        return skip("chromium is not installed");
    };
    let server = Server::start(&["--threads", "2"]);
    let port = serve_pages(&server);
    let mut producer = server.producer_waiting("pages/taken", b"data", 1);
    let mut consumer = server.consumer_waiting("pages/given", 1);
    // Cross-site, and same-site.
    for host in ["127.0.0.1", "localhost"] {
        for (name, _, requests) in ATTEMPTS {
            let before = refused(&server);
            chromium.open(&format!("http://{host}:{port}/{name}"));
            until_refused(&server, before, requests, &format!("{name} from {host}"));
        }
    }
    // A script that has got into the server's own origin.
    for (what, script) in [
        (
            "a service worker",
            "navigator.serviceWorker.register('/channels/pages/taken').then(() => 'yes', () => 'no')",
        ),
        (
            "a prefetch of the same origin",
            "new Promise(done => {
                const link = document.createElement('link');
                link.rel = 'prefetch';
                link.href = '/channels/pages/taken';
                link.onload = () => done('yes');
                link.onerror = () => done('no');
                document.head.append(link);
            })",
        ),
    ] {
        let before = refused(&server);
        chromium.open(&url(&server, "/"));
        assert_eq!(chromium.run(script), "no", "{what}");
        until_refused(&server, before, 1, what);
    }
    producer.expect_nothing();
    consumer.expect_nothing();
    server.until_waiting(Side::Producer, 1);
    server.until_waiting(Side::Consumer, 1);

    chromium.open(&format!("http://127.0.0.1:{port}/link"));
    until_loaded(&mut chromium);
    chromium.click();
    producer.reply().assert_status(200);
    // The address bar is a person too. What comes has no origin, and runs no script.
    let page = "<script>document.title = 'ran'</script>";
    let fields = format!(
        "Content-Type: text/html\r\nContent-Length: {}\r\n",
        page.len()
    );
    let head = post_head_with("pages/typed", &fields);
    let mut producer = server.connect_and_send(&[&head[..], page.as_bytes()].concat());
    server.until_waiting(Side::Producer, 1);
    chromium.open(&url(&server, "/channels/pages/typed"));
    producer.reply().assert_status(200);
    until_loaded(&mut chromium);
    assert_eq!(chromium.run("`${origin} ${document.title}`"), "null ");
    drop(consumer);
}
