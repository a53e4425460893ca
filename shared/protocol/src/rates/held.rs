//! The place of a stream, from its beginning to its end, whoever ends it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use domain::ports::{Clock, Rates, StreamPlace};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::PLACE_MILLISECONDS;
use crate::answer::Body;

/// After how long a place is kept again.
const KEEP: Duration = Duration::from_millis(PLACE_MILLISECONDS / 3);

/// What a stream holds while it is written. Dropping it gives it back as well, where something still
/// runs; otherwise its time does.
pub trait Held: Send + 'static {
    /// Holds it for longer.
    fn keep(&self) -> BoxFuture<'static, ()>;
    /// Gives it back.
    fn free(self) -> BoxFuture<'static, ()>;
}

impl Held for Infallible {
    fn keep(&self) -> BoxFuture<'static, ()> {
        match *self {}
    }
    fn free(self) -> BoxFuture<'static, ()> {
        match self {}
    }
}

/// A place in the store.
pub struct Place<P: Rates + Clone + 'static, C: Clock + Clone + 'static> {
    rates: P,
    clock: C,
    /// `None` once it is given back.
    place: Option<StreamPlace>,
}

impl<P: Rates + Clone + 'static, C: Clock + Clone + 'static> Place<P, C> {
    pub(super) const fn new(rates: P, clock: C, place: StreamPlace) -> Self {
        Self {
            rates,
            clock,
            place: Some(place),
        }
    }

    fn freed(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (rates, place) = (self.rates.clone(), self.place.take()?);
        Some(async move {
            if let Err(error) = rates.free_place(&place).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the place of a stream is free only when its time is up"
                );
            }
        })
    }
}

impl<P: Rates + Clone + 'static, C: Clock + Clone + 'static> Held for Place<P, C> {
    fn keep(&self) -> BoxFuture<'static, ()> {
        let (rates, place) = (self.rates.clone(), self.place.clone());
        let until = self.clock.now().plus(PLACE_MILLISECONDS);
        async move {
            let Some(place) = place else { return };
            if let Err(error) = rates.keep_place(&place, until).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the place of a stream was not kept"
                );
            }
        }
        .boxed()
    }

    fn free(mut self) -> BoxFuture<'static, ()> {
        let freed = self.freed();
        async move {
            if let Some(freed) = freed {
                freed.await;
            }
        }
        .boxed()
    }
}

impl<P: Rates + Clone + 'static, C: Clock + Clone + 'static> Drop for Place<P, C> {
    fn drop(&mut self) {
        if let Some(freed) = self.freed()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(freed);
        }
    }
}

/// Whether an answer is a stream of events.
pub(crate) fn is_stream(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The answer with its place: the stream does not end before that is given back, because on Lambda
/// nothing runs after the last frame.
pub(crate) fn holding<H: Held>(response: Response<Body>, held: H) -> Response<Body> {
    response.map(|body| {
        Holding {
            body,
            held: Some(held),
            timer: Box::pin(tokio::time::sleep(KEEP)),
            doing: None,
            ended: false,
        }
        .boxed_unsync()
    })
}

struct Holding<H> {
    body: Body,
    held: Option<H>,
    timer: Pin<Box<Sleep>>,
    /// What is being said to the store.
    doing: Option<BoxFuture<'static, ()>>,
    ended: bool,
}

// Nothing in it is pinned where it stands.
impl<H> Unpin for Holding<H> {}

impl<H: Held> http_body::Body for Holding<H> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(doing) = &mut this.doing {
                match doing.as_mut().poll(context) {
                    Poll::Ready(()) => this.doing = None,
                    Poll::Pending if this.ended => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if this.doing.is_none() && this.timer.as_mut().poll(context).is_ready() {
                this.timer.as_mut().reset(Instant::now() + KEEP);
                this.doing = this.held.as_ref().map(Held::keep);
                continue;
            }
            let frame = Pin::new(&mut this.body).poll_frame(context);
            if !matches!(frame, Poll::Ready(None)) {
                return frame;
            }
            this.ended = true;
            this.doing = this.held.take().map(Held::free);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.doing.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use domain::OwnerId;
    use domain::rate::RateLimit;
    use http::HeaderValue;
    use http_body_util::StreamBody;
    use testkit::Fake;

    use super::*;
    use crate::rates::{Limited, Limiter, RateSettings};

    /// A stream that says nothing and does not end.
    fn silent() -> Response<Body> {
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn limited(fake: &Fake) -> Limited<Fake, Fake> {
        let settings = RateSettings {
            requests: RateLimit {
                per_second: 1,
                burst: 1,
            },
            open_streams: 2,
        };
        Limited::new(fake.clone(), fake.clone(), settings)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_keeps_its_place_and_the_one_of_a_dead_function_is_free_again() {
        let fake = Fake::new(1);
        let (limited, owner) = (limited(&fake), OwnerId::of("i", "s"));
        let held = limited.stream(&owner).await.expect("free");
        let response = silent();
        assert!(is_stream(&response));
        let mut alive = holding(response, held.expect("counted"));
        // Another function took the second place, and dies without a word.
        let dead = limited.stream(&owner).await.expect("free");
        std::mem::forget(dead);
        assert!(limited.stream(&owner).await.is_err());
        for _ in 0..5 {
            let frame = alive.body_mut().frame();
            let read = tokio::time::timeout(Duration::from_secs(15), frame).await;
            assert!(read.is_err(), "it goes on");
            fake.clock().advance(15_000);
        }
        assert!(fake.calls_by_name()["keep_place"] >= 3);
        assert_eq!(fake.peek_places(&owner, fake.now()), 1, "the living one's");
        assert!(limited.stream(&owner).await.is_ok());
        // Dead as well: its client has gone, and nothing polls it any more.
        std::mem::forget(alive);
        fake.clock().advance(PLACE_MILLISECONDS);
        assert_eq!(fake.peek_places(&owner, fake.now()), 0);
    }

    #[tokio::test]
    async fn a_stream_does_not_end_before_its_place_is_given_back() {
        let fake = Fake::new(2);
        let (limited, owner) = (limited(&fake), OwnerId::of("i", "s"));
        let held = limited.begun_stream(&owner).await.expect("counted");
        let response = Response::new(crate::answer::full(Bytes::from_static(b"x")));
        let mut body = holding(response, held).into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(fake.peek_places(&owner, fake.now()), 1);
        assert!(body.frame().await.is_none());
        assert_eq!(fake.peek_places(&owner, fake.now()), 0);
    }
}
