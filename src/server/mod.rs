//! "Who may connect, and for how long?" The accept loop, with a limit on everything a peer can hold.
//!
//! It is our own because the framework's sets no timeout on headers and no limit on their size.

mod patience;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api;
use crate::app::App;
use crate::config::Limits;
use patience::{Busy, Patient};

/// How a server came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// Some were cut off when the time for draining was over.
    CutOff(usize),
}

/// Serves until `shutdown` resolves, then answers what is open and returns.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future<Output = ()>) -> Ended {
    let limits = app.config.limits.clone();
    let places = Arc::new(Semaphore::new(limits.connections));
    let service = api::router(Arc::clone(&app));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    app.set_ready(true);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let connection = Connection {
                            app: Arc::clone(&app),
                            service: service.clone(),
                            stopped: stopped.clone(),
                            _place: place,
                        };
                        connections.spawn(connection.run(stream));
                    }
                    // Closing at once tells more than letting it wait.
                    Err(_) => app.recorder.metrics.connection_refused(),
                },
                Err(error) => back_off(&error).await,
            },
        }
    }
    app.set_ready(false);
    drop(listener);
    stopping.send_replace(true);
    drain(connections, &app, limits.drain).await
}

/// Out of file descriptors: others will be freed, and trying again at once would only burn time.
async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// How long streams get to say why they end.
const LAST_WORD: Duration = Duration::from_secs(1);

async fn drain(mut connections: JoinSet<()>, app: &App, patience: Duration) -> Ended {
    if timeout(patience, all_ended(&mut connections)).await.is_ok() {
        return Ended::Drained;
    }
    let left = connections.len();
    app.cut_off();
    // Who does not take the last word either is cut off without it.
    let _ = timeout(LAST_WORD, all_ended(&mut connections)).await;
    connections.shutdown().await;
    Ended::CutOff(left)
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// One connection and what it may use.
struct Connection {
    app: Arc<App>,
    service: Router,
    stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        self.app.recorder.metrics.connection_opened();
        let metrics = Arc::clone(&self.app.recorder);
        // Small events must not wait for company.
        let _ = stream.set_nodelay(true);
        let limits = self.app.config.limits.clone();
        let mut stopped = self.stopped.clone();
        let first = tokio::select! {
            first = timeout(limits.first_byte, speaks_http2(&stream)) => first,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(Err(io::ErrorKind::ConnectionAborted.into())),
        };
        // An error here is a peer that went away or said nothing in time; either way there is nothing to answer.
        match first {
            Ok(Ok(true)) => self.run_http2(stream, &limits).await,
            Ok(Ok(false)) => self.run_http1(stream, &limits).await,
            _ => {}
        }
        metrics.metrics.connection_closed();
    }

    async fn run_http1(self, stream: TcpStream, limits: &Limits) {
        let busy = Busy::default();
        let io = TokioIo::new(Patient::http1(stream, busy.clone(), limits));
        let router = self.service;
        let service = service_fn(move |request| busy.answer(router.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Ours tells a slow header from an idle connection; theirs does not.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes.max(64 << 10))
            .max_header_size(limits.header_bytes)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut stopped = self.stopped;
        tokio::select! {
            ended = &mut connection => return note(ended),
            _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
        }
        note(connection.await);
    }

    async fn run_http2(self, stream: TcpStream, limits: &Limits) {
        let busy = Busy::default();
        let io = TokioIo::new(Patient::http2(stream, busy.clone(), limits));
        let router = self.service;
        let service = service_fn(move |request| busy.answer(router.clone(), request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(64 << 10)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut stopped = self.stopped;
        tokio::select! {
            ended = &mut connection => return note(ended),
            _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
        }
        note(connection.await);
    }
}

fn note(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Looks at the first bytes without taking them. Three are enough: no method starts like HTTP/2's preface.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if seen == PREFACE.len() || !PREFACE.starts_with(&first[..seen]) {
            return Ok(first[..seen] == *PREFACE);
        }
        // Peeking again returns the same byte at once, so give the next one time to arrive.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
