//! The topic that notices are published to.

use aws_sdk_sns::types::MessageAttributeValue;
use domain::ports::{NoticeMessage, Notifier, Operators, Unavailable};

use crate::{
    Endpoint,
    failure::{self, Kind},
    settings,
};

/// One SNS topic. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) arn: String,
}

impl Topic {
    /// Builds the client from the process's environment, as [`crate::Store::connect`] does.
    pub async fn connect(arn: &str) -> Self {
        Self::build(arn, &settings::sdk_config(None).await)
    }

    /// The same for an endpoint that the environment does not name.
    pub async fn connect_to(arn: &str, endpoint: Endpoint) -> Self {
        Self::build(arn, &settings::sdk_config(Some(endpoint)).await)
    }

    fn build(arn: &str, config: &aws_config::SdkConfig) -> Self {
        Self {
            sns: aws_sdk_sns::Client::new(config),
            arn: arn.to_owned(),
        }
    }
}

impl Notifier for Topic {
    /// Subscriptions can select by the attributes `type` and `owner`.
    async fn publish(&self, message: &NoticeMessage) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "publish the notice";
        let notice = &message.notice;
        let attribute = |value: &str| {
            MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| failure::own(ATTEMPTED, error))
        };
        let published = self
            .sns
            .publish()
            .topic_arn(&self.arn)
            .message(&message.body)
            .message_attributes("type", attribute(notice.kind.as_str())?)
            .message_attributes("owner", attribute(notice.key.owner.as_str())?)
            .send()
            .await;
        published
            .map(drop)
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Write, error))
    }
}

impl Operators for Topic {
    async fn tell(&self, subject: &str, text: &str) -> Result<(), Unavailable> {
        let publish = self.sns.publish().topic_arn(&self.arn);
        let published = Box::pin(publish.subject(subject).message(text).send()).await;
        published
            .map(drop)
            .map_err(|error| failure::aws("tell the operators", Kind::Write, error))
    }
}
