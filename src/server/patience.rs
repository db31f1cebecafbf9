//! A connection that gives up on a peer that keeps it waiting.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::task::AtomicWaker;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::config::Limits;

/// The requests of one connection. While any is being answered, the peer is right to be silent.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Who reads the connection, to be told when waiting for the peer begins.
    reader: AtomicWaker,
}

/// One request being answered; ends when dropped.
struct Working(Busy);

impl Busy {
    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Acquire)
    }

    fn is_busy(&self) -> bool {
        self.0.ended.load(Ordering::Acquire) != self.begun()
    }

    /// Answers one request, busy until the last byte of its response is produced or the response is dropped.
    pub(super) fn answer(
        &self,
        mut router: Router,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        let working = Working(self.clone());
        let response = router.call(request.map(Body::new));
        async move {
            let hold = move |body: Body| {
                Body::new(body.map_frame(move |frame| {
                    let _held = &working;
                    frame
                }))
            };
            Ok(response.await?.map(hold))
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::AcqRel);
        self.0.0.reader.wake();
    }
}

/// What the peer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Nothing: it is our turn.
    No,
    /// Another request.
    Idle,
    /// The rest of a request's headers.
    Header,
}

/// A stream whose reads and writes fail when the peer takes longer than allowed.
pub(super) struct Patient {
    stream: TcpStream,
    busy: Busy,
    waiting: Waiting,
    /// Requests begun when `waiting` was last looked at.
    seen: usize,
    keep_alive: Duration,
    /// Absent where requests are frames of one long exchange.
    header: Option<Duration>,
    write_stall: Duration,
    read_by: Pin<Box<Sleep>>,
    write_by: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn http1(stream: TcpStream, busy: Busy, limits: &Limits) -> Self {
        Patient {
            stream,
            busy,
            waiting: Waiting::No,
            seen: 0,
            keep_alive: limits.keep_alive,
            header: Some(limits.header),
            write_stall: limits.write_stall,
            read_by: Box::pin(sleep(limits.keep_alive)),
            write_by: None,
        }
    }

    pub(super) fn http2(stream: TcpStream, busy: Busy, limits: &Limits) -> Self {
        Patient { header: None, ..Patient::http1(stream, busy, limits) }
    }

    /// Bytes came: they are the beginning of a request, unless one is being answered or was begun already.
    fn received(&mut self) {
        self.catch_up();
        match self.header {
            _ if self.busy.is_busy() => self.waiting = Waiting::No,
            Some(header) if self.waiting != Waiting::Header => self.wait(Waiting::Header, header),
            Some(_) => {}
            None => self.wait(Waiting::Idle, self.keep_alive),
        }
    }

    /// No bytes came: whether that is too long by now.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.catch_up();
        // Registered before looking, so that an end in between is not missed.
        self.busy.0.reader.register(cx.waker());
        if self.busy.is_busy() {
            self.waiting = Waiting::No;
            return Poll::Pending;
        }
        if self.waiting == Waiting::No {
            self.wait(Waiting::Idle, self.keep_alive);
        }
        self.read_by.as_mut().poll(cx)
    }

    /// A request may have come and gone between two reads; then the wait starts anew.
    fn catch_up(&mut self) {
        let begun = self.busy.begun();
        if self.seen != begun {
            self.seen = begun;
            self.waiting = Waiting::No;
        }
    }

    fn wait(&mut self, waiting: Waiting, patience: Duration) {
        self.waiting = waiting;
        self.read_by.as_mut().reset(tokio::time::Instant::now() + patience);
    }

    /// Passes on the result of a write; a write that makes no progress fails in the end.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_by = None;
            return written;
        }
        let stall = self.write_stall;
        let write_by = self.write_by.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(write_by.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                ready!(self.poll_patience(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            done => {
                self.received();
                done
            }
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
