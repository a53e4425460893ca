//! Secrets in the Parameter Store of AWS Systems Manager, where they cost nothing: three calls of its API.
//!
//! Written here, because the crate for all of its calls would be as large as those for everything else
//! that we call, together. Facts: AWS Systems Manager API Reference, "PutParameter", "GetParameter",
//! "DeleteParameter"; the protocol is JSON 1.1.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use domain::ports::Unavailable;
use serde_json::{Value, json};

/// One attempt. Own, as of the other services.
const ATTEMPT: Duration = Duration::from_secs(4);
/// Attempts of one call.
const ATTEMPTS: u32 = 3;
/// Between two of them. Own: parameters are written three times a second at most.
const PAUSE: Duration = Duration::from_millis(400);

type Problem = Box<dyn Error + Send + Sync>;

/// The parameters below one path. Cheap to clone; connects with the first call.
#[derive(Clone)]
pub(crate) struct Parameters {
    config: SdkConfig,
    path: String,
    connector: Arc<OnceLock<Connector>>,
}

/// What came of one attempt.
enum Attempt {
    Done(Value),
    /// There is no such parameter.
    Missing,
    /// Trying again may help.
    Again(Problem),
    Refused(Problem),
}

impl Parameters {
    pub(crate) fn new(config: &SdkConfig, path: &str) -> Self {
        Self {
            config: config.clone(),
            path: path.trim_end_matches('/').to_owned(),
            connector: Arc::default(),
        }
    }

    /// Writes one, in the place of what it was. Repeating it is harmless.
    pub(crate) async fn put(
        &self,
        attempted: &'static str,
        name: &str,
        value: &str,
    ) -> Result<(), Unavailable> {
        let body = json!({
            "Name": self.full(name), "Value": value, "Type": "SecureString", "Tier": "Standard",
            "Overwrite": true,
        });
        self.call(attempted, "PutParameter", &body).await.map(drop)
    }

    /// Reads one; `None` when there is none.
    pub(crate) async fn get(
        &self,
        attempted: &'static str,
        name: &str,
    ) -> Result<Option<String>, Unavailable> {
        let body = json!({"Name": self.full(name), "WithDecryption": true});
        let Some(answer) = self.call(attempted, "GetParameter", &body).await? else {
            return Ok(None);
        };
        let value = answer["Parameter"]["Value"].as_str();
        let value =
            value.ok_or_else(|| unavailable(attempted, false, "the answer has no value"))?;
        Ok(Some(value.to_owned()))
    }

    /// Removes one, if there is one.
    pub(crate) async fn delete(
        &self,
        attempted: &'static str,
        name: &str,
    ) -> Result<(), Unavailable> {
        let body = json!({"Name": self.full(name)});
        self.call(attempted, "DeleteParameter", &body)
            .await
            .map(drop)
    }

    fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    async fn call(
        &self,
        attempted: &'static str,
        operation: &str,
        body: &Value,
    ) -> Result<Option<Value>, Unavailable> {
        let mut attempt = 1;
        loop {
            let problem = match self.attempt(operation, body.to_string()).await {
                Attempt::Done(answer) => return Ok(Some(answer)),
                Attempt::Missing => return Ok(None),
                Attempt::Refused(problem) => return Err(unavailable(attempted, false, problem)),
                Attempt::Again(problem) => problem,
            };
            if attempt == ATTEMPTS {
                let writes = operation != "GetParameter";
                return Err(unavailable(attempted, writes, problem));
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, operation: &str, body: String) -> Attempt {
        let request = match self.request(operation, body).await {
            Ok(request) => request,
            Err(problem) => return Attempt::Refused(problem),
        };
        let sent = async {
            let answer = self.connector().call(request).await?;
            let status = answer.status().as_u16();
            let body = ByteStream::new(answer.into_body()).collect().await?;
            Ok::<_, Problem>((status, body.into_bytes()))
        };
        let (status, body) = match tokio::time::timeout(ATTEMPT, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(problem)) => return Attempt::Again(problem),
            Err(late) => return Attempt::Again(late.into()),
        };
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status == 200 {
            return Attempt::Done(body);
        }
        // `com.amazonaws...#ParameterNotFound` is as good as its last part.
        let code = body["__type"].as_str().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let words = body["message"].as_str().or(body["Message"].as_str());
        let problem = format!("{status} {code}: {}", words.unwrap_or_default());
        match code {
            "ParameterNotFound" => Attempt::Missing,
            "ThrottlingException" | "TooManyUpdates" => Attempt::Again(problem.into()),
            _ if status >= 500 => Attempt::Again(problem.into()),
            _ => Attempt::Refused(problem.into()),
        }
    }

    async fn request(&self, operation: &str, body: String) -> Result<HttpRequest, Problem> {
        let region = self.config.region().ok_or("no AWS region is set")?;
        let url = match self.config.endpoint_url() {
            Some(url) => format!("{}/", url.trim_end_matches('/')),
            None if region.as_ref().starts_with("cn-") => {
                format!("https://ssm.{region}.amazonaws.com.cn/")
            }
            None => format!("https://ssm.{region}.amazonaws.com/"),
        };
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or("there are no AWS credentials")?;
        let identity = provider.provide_credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_ref())
            .name("ssm")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let target = format!("AmazonSSM.{operation}");
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
        ];
        let signed = {
            let body = SignableBody::Bytes(body.as_bytes());
            let request = SignableRequest::new("POST", url.as_str(), headers.into_iter(), body)?;
            sign(request, &params)?.into_parts().0
        };
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(url)?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value.to_owned());
        }
        for (name, value) in signed.headers() {
            let name = name.to_owned();
            request.headers_mut().insert(name, value.to_owned());
        }
        Ok(request)
    }

    fn connector(&self) -> &Connector {
        self.connector.get_or_init(|| {
            let settings = HttpConnectorSettings::builder().connect_timeout(ATTEMPT);
            let builder = Connector::builder().connector_settings(settings.build());
            // As in `settings`: without certificates where there is no TLS.
            match self.config.endpoint_url() {
                Some(url) if url.starts_with("http://") => builder.build_http(),
                _ => builder
                    .tls_provider(tls::Provider::Rustls(
                        tls::rustls_provider::CryptoMode::Ring,
                    ))
                    .build(),
            }
        })
    }
}

fn unavailable(
    attempted: &'static str,
    outcome_unknown: bool,
    source: impl Into<Problem>,
) -> Unavailable {
    Unavailable {
        attempted,
        outcome_unknown,
        source: source.into(),
    }
}
