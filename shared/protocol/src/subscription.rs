//! `subscriptions/listen`: what a client wants to be told of, and the stream that tells it.

use rmcp::model::{MetaObject, ResultType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asked::Notices;

const ID_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// What a client wants to hear of, or the part of it that it will. rmcp's own type knows no tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// The list of tools changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tools_list_changed: bool,
    /// The list of prompts changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prompts_list_changed: bool,
    /// The list of resources changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resources_list_changed: bool,
    /// These resources changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_subscriptions: Vec<String>,
    /// The status of these tasks changed (tasks extension).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<String>,
}

/// What was accepted of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What the client will hear of.
    pub filter: Filter,
    /// How things looked when it was accepted, for whoever accepted it: what changes from then on is
    /// told, also when it changes before anyone looks again.
    pub marks: Vec<u64>,
}

/// The open stream of one `subscriptions/listen`.
#[derive(Clone, Debug)]
pub struct Subscription {
    notices: Notices,
    id: Value,
}

impl Subscription {
    pub(crate) fn new(notices: Notices, request_id: &Value) -> Self {
        Self {
            notices,
            id: request_id.clone(),
        }
    }

    /// Sends a notification that says which subscription it belongs to; `params` is an object.
    /// Never fails: who went away is told nothing.
    pub async fn tell(&self, method: &str, mut params: Value) {
        params["_meta"][ID_KEY] = self.id.clone();
        self.notices.send(method, params).await;
    }

    /// The first message: what the client will hear of.
    pub(crate) async fn acknowledge(&self, accepted: &Filter) {
        let params = json!({"notifications": accepted});
        self.tell("notifications/subscriptions/acknowledged", params)
            .await;
    }

    /// The response at the end.
    pub(crate) fn ended(&self) -> Ended {
        let mut meta = MetaObject::new();
        meta.insert(ID_KEY.to_owned(), self.id.clone());
        Ended {
            result_type: ResultType::COMPLETE,
            meta: Some(meta),
        }
    }
}

/// The result of a subscription that the server ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    result_type: ResultType,
    #[serde(rename = "_meta")]
    pub(crate) meta: Option<MetaObject>,
}
