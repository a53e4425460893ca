//! The edge: runs the CloudFront function file of the deployment, in a JavaScript engine, on every
//! request before API Gateway sees it.
//!
//! The engine's values belong to one thread, so one thread runs the function for all requests, in
//! the order they arrive.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use axum::{body::Body, response::Response};
use boa_engine::{Context, JsValue, Source, js_string};
use http::request::Parts;
use serde_json::Value;
use tokio::sync::oneshot;

mod event;

/// Iterations of one loop after which the function is given up. CloudFront allows a function well
/// under a millisecond of work.
const MOST_LOOP_ITERATIONS: u64 = 100_000;
/// Depth of calls after which the function is given up.
const MOST_RECURSION: usize = 200;

/// Why the edge function could not be loaded or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The file cannot be read.
    #[error("cannot read the edge function {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not valid JavaScript, throws, or defines no function `handler`.
    #[error("the edge function cannot be used: {0}")]
    Script(String),
    /// It threw, or returned something that is neither a request nor a response, on one request.
    /// CloudFront answers such a request with 503.
    #[error("the edge function failed: {0}")]
    Failed(String),
}

/// The loaded function. Cheap to clone; its thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct EdgeFunction {
    calls: mpsc::Sender<Call>,
}

#[derive(Debug)]
struct Call {
    event: Arc<Value>,
    answer: oneshot::Sender<Result<Value, String>>,
}

/// Loads a file, and gives its text, too.
///
/// # Errors
/// As [`EdgeFunction::load`].
pub fn load(path: &Path) -> Result<(EdgeFunction, String), EdgeError> {
    let source = std::fs::read_to_string(path).map_err(|source| EdgeError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok((EdgeFunction::from_source(source.clone())?, source))
}

impl EdgeFunction {
    /// Loads a file that defines `function handler(event)`, as CloudFront's runtime
    /// `cloudfront-js-2.0` takes it. Reads the file once: load it again after a change.
    ///
    /// # Errors
    /// [`EdgeError::Read`] or [`EdgeError::Script`].
    pub fn load(path: &Path) -> Result<Self, EdgeError> {
        load(path).map(|(function, _)| function)
    }

    /// Loads the text of a function.
    ///
    /// # Errors
    /// [`EdgeError::Script`].
    pub fn from_source(source: String) -> Result<Self, EdgeError> {
        let (calls, queue) = mpsc::channel::<Call>();
        let (ready, loaded) = mpsc::channel();
        std::thread::Builder::new()
            .name("edge-function".into())
            .spawn(move || {
                let mut engine = match Engine::new(&source) {
                    Ok(engine) => engine,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(())));
                for call in queue {
                    // The request may have been given up meanwhile.
                    drop(call.answer.send(engine.call(&call.event)));
                }
            })
            .map_err(|error| EdgeError::Script(error.to_string()))?;
        loaded
            .recv()
            .unwrap_or_else(|_| Err("its thread ended".into()))
            .map_err(EdgeError::Script)?;
        Ok(Self { calls })
    }

    /// Runs the function on a request and applies what it says: `None` when the (changed) request
    /// goes on, or the response that the function gives in its place.
    ///
    /// # Errors
    /// [`EdgeError::Failed`]; the request is unchanged.
    pub async fn apply(
        &self,
        parts: &mut Parts,
        viewer: IpAddr,
    ) -> Result<Option<Response<Body>>, EdgeError> {
        let (answer, answered) = oneshot::channel();
        let gone = || EdgeError::Failed("its thread ended".into());
        let event = Arc::new(event::viewer_request(parts, viewer));
        let call = Call {
            event: event.clone(),
            answer,
        };
        self.calls.send(call).map_err(|_| gone())?;
        let returned = answered.await.map_err(|_| gone())?;
        let returned = returned.map_err(EdgeError::Failed)?;
        event::apply(&event, &returned, parts).map_err(EdgeError::Failed)
    }
}

struct Engine {
    context: Context,
    handler: boa_engine::JsObject,
}

impl Engine {
    fn new(source: &str) -> Result<Self, String> {
        let mut context = Context::default();
        let limits = context.runtime_limits_mut();
        limits.set_loop_iteration_limit(MOST_LOOP_ITERATIONS);
        limits.set_recursion_limit(MOST_RECURSION);
        context
            .eval(Source::from_bytes(source))
            .map_err(|error| error.to_string())?;
        let handler = context
            .global_object()
            .get(js_string!("handler"), &mut context)
            .map_err(|error| error.to_string())?;
        let handler = handler
            .as_object()
            .filter(|object| object.is_callable())
            .ok_or("it defines no function named handler")?
            .clone();
        Ok(Self { context, handler })
    }

    fn call(&mut self, event: &Value) -> Result<Value, String> {
        let mut run = || {
            let event = JsValue::from_json(event, &mut self.context)?;
            let returned = self
                .handler
                .call(&JsValue::undefined(), &[event], &mut self.context)?;
            returned.to_json(&mut self.context)
        };
        run()
            .map_err(|error: boa_engine::JsError| error.to_string())?
            .ok_or_else(|| "it returned nothing".to_owned())
    }
}
