//! The environment of an instance: the template's, what Lambda adds, and nothing of the emulator's.

use std::path::Path;

use crate::{
    credentials::AccessKey,
    template::{FunctionResource, REGION},
};

/// Where an instance finds what.
pub(super) struct Places<'place> {
    /// Runtime API of this instance, with a scheme because it has a path.
    pub(super) runtime_api: &'place str,
    /// The other AWS services.
    pub(super) endpoint_url: &'place str,
    /// The function's binary.
    pub(super) binary: &'place Path,
}

/// The whole environment. What Lambda reserves wins over the template.
pub(super) fn of_instance(
    function: &FunctionResource,
    instance: &str,
    key: &AccessKey,
    places: &Places<'_>,
) -> Vec<(String, String)> {
    let root = places.binary.parent().unwrap_or(Path::new("/"));
    let mut environment = function.environment.clone();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", key.id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &key.secret),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_REGION", REGION),
        ("AWS_ENDPOINT_URL", places.endpoint_url),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            &function.memory_mib.to_string(),
        ),
        ("AWS_LAMBDA_FUNCTION_NAME", &function.function_name),
        ("AWS_LAMBDA_FUNCTION_VERSION", function.version()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &function.log_group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", instance),
        ("AWS_LAMBDA_RUNTIME_API", places.runtime_api),
        ("LAMBDA_TASK_ROOT", &root.display().to_string()),
        ("LANG", "en_US.UTF-8"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("TZ", ":UTC"),
        ("_HANDLER", "bootstrap"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment.into_iter().collect()
}
