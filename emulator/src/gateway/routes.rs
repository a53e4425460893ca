//! Which route a path is for: literal parts win over `{name}`, and those over `{name+}`.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::template::Route;

/// How a part of a path fits; lower is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Literal,
    Parameter,
    Greedy,
}

/// The route and the values of its path parameters, percent-decoded.
pub(super) fn find<'routes>(
    routes: &'routes [Route],
    method: &Method,
    path: &str,
) -> Option<(&'routes Route, BTreeMap<String, String>)> {
    // The path decides first: a better path without the method is no reason to take a worse one.
    let best = routes
        .iter()
        .filter_map(|route| Some((fit(&route.path, path)?.0, route)))
        .min_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, route)| &route.path)?;
    let of_path = || routes.iter().filter(|route| route.path == *best);
    let route = of_path()
        .find(|route| route.method == method.as_str())
        .or_else(|| of_path().find(|route| route.method == "ANY"))?;
    Some((route, fit(&route.path, path)?.1))
}

fn fit(template: &str, path: &str) -> Option<(Vec<Fit>, BTreeMap<String, String>)> {
    let mut fits = Vec::new();
    let mut parameters = BTreeMap::new();
    let mut rest = path.strip_prefix('/')?;
    let parts: Vec<&str> = template.strip_prefix('/')?.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let name = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'));
        if let Some(greedy) = name.and_then(|name| name.strip_suffix('+')) {
            if !last || rest.is_empty() {
                return None;
            }
            fits.push(Fit::Greedy);
            parameters.insert(greedy.to_owned(), decoded(rest));
            return Some((fits, parameters));
        }
        let (value, after) = match rest.split_once('/') {
            Some((value, after)) => (value, Some(after)),
            None => (rest, None),
        };
        match name {
            Some(name) if !value.is_empty() => {
                fits.push(Fit::Parameter);
                parameters.insert(name.to_owned(), decoded(value));
            }
            None if *part == value => fits.push(Fit::Literal),
            _ => return None,
        }
        match (after, last) {
            (Some(after), false) => rest = after,
            (None, true) => return Some((fits, parameters)),
            _ => return None,
        }
    }
    None
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
