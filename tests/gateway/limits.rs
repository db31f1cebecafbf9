use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gateway, MockUpstream, PATIENCE, Reply, ask, ask_stream, header, json_of, whole};

async fn gateway(limits: &str) -> Gateway {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    Gateway::start(&format!("{}[limits]\n{limits}\n", upstream.model("up"))).await
}

async fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.address).await.expect("a connection")
}

/// Everything the gateway sends until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is a way to close.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the gateway closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let gateway = gateway("first_byte_ms = 50").await;
    let mut stream = connect(&gateway).await;
    assert_eq!(rest(&mut stream).await, "");
    gateway.metric("thinkgate_connections 0").await;
}

#[tokio::test]
async fn slow_headers_end_the_connection_even_when_bytes_keep_coming() {
    let gateway = gateway("header_ms = 200").await;
    let mut stream = connect(&gateway).await;
    let (mut read, mut write) = stream.split();
    let drip = async {
        let _ = write.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        loop {
            if write.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut bytes = Vec::new();
    let closed = tokio::select! {
        closed = tokio::time::timeout(PATIENCE, read.read_to_end(&mut bytes)) => closed,
        () = drip => unreachable!("it drips for ever"),
    };
    assert!(closed.is_ok());
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_limit_and_not_its_own() {
    let gateway = gateway("header_ms = 50\nkeep_alive_ms = 400").await;
    let mut stream = connect(&gateway).await;
    for _ in 0..2 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.expect("open");
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn too_many_header_bytes_are_refused() {
    let gateway = gateway("").await;
    let mut stream = connect(&gateway).await;
    let value = "x".repeat(40 << 10);
    let request = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {value}\r\n\r\n");
    let _ = stream.write_all(request.as_bytes()).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let gateway = gateway("").await;
    let mut stream = connect(&gateway).await;
    let headers: String = (0..150).map(|index| format!("x-{index}: 1\r\n")).collect();
    let _ = stream.write_all(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_its_length() {
    let gateway = gateway("body_bytes = 2048").await;
    let long = ask(&"x".repeat(4096));
    let response = gateway.chat(&long).send().await.expect("a response");
    assert_eq!(response.status(), 413);
    assert_eq!(json_of(response).await["error"]["code"], "request_too_large");

    let mut stream = connect(&gateway).await;
    let chunk = format!("{:x}\r\n{}\r\n", 4096, "x".repeat(4096));
    let request =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    let _ = stream.write_all(request.as_bytes()).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_timeout() {
    let gateway = gateway("body_idle_ms = 50").await;
    let mut stream = connect(&gateway).await;
    let request = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(request.as_bytes()).await.expect("open");
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_body_beyond_the_memory_for_all_bodies_has_to_wait() {
    let gateway = gateway("body_bytes = 4096\nall_bodies_bytes = 4096").await;
    let _room = gateway.app.body_bytes.clone().acquire_many_owned(4000).await.expect("room");
    let response = gateway.chat(&ask(&"x".repeat(1000))).send().await.expect("a response");
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), "1");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_come_back() {
    let upstream = MockUpstream::start([Reply::Silent]).await;
    let gateway = Gateway::start(&(upstream.model("up") + "[limits]\nin_flight = 1\n")).await;
    let waiting = tokio::spawn(gateway.chat(&ask("hi")).send());
    upstream.arrived().await;
    let response = gateway.chat(&ask_stream("hi")).send().await.expect("a response");
    assert_eq!(response.status(), 503);
    assert_eq!(json_of(response).await["error"]["code"], "server_is_overloaded");
    assert_eq!(gateway.get("/healthz").send().await.expect("a response").status(), 200);
    waiting.abort();
    upstream.dropped().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let gateway = gateway("connections = 1").await;
    let mut first = connect(&gateway).await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
    let mut buffer = [0; 512];
    assert!(first.read(&mut buffer).await.expect("open") > 0);
    let mut second = connect(&gateway).await;
    assert_eq!(rest(&mut second).await, "");
    gateway.metric("thinkgate_connections_refused_total 1").await;
}

#[tokio::test]
async fn pipelined_requests_behind_an_upgrade_are_ours_to_judge() {
    let gateway = gateway("").await;
    let mut stream = connect(&gateway).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n\
                   GET /nope HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("open");
    let text = rest(&mut stream).await;
    assert!(text.contains("HTTP/1.1 200") && text.contains("HTTP/1.1 404"), "{text}");
}

#[tokio::test]
async fn http2_is_spoken() {
    let gateway = gateway("").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let response =
        client.get(format!("http://{}/healthz", gateway.address)).send().await.expect("a response");
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}
