//! Filling in a text: `{{name}}` is a value, `{{#name}}…{{/name}}` stands only where there is one,
//! `{{^name}}…{{/name}}` only where there is none. Values are not read for more of these.

/// The text with the values in it.
pub(super) fn render(text: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len() + 512);
    fill(text, values, &mut filled);
    // A block that fell out leaves its empty lines behind.
    let mut lines = Vec::new();
    for line in filled.lines() {
        let empty = line.trim().is_empty();
        let before_empty = lines.last().is_none_or(|before: &&str| before.is_empty());
        if !(empty && before_empty) {
            lines.push(if empty { "" } else { line });
        }
    }
    lines.join("\n").trim().to_owned()
}

fn fill(text: &str, values: &[(&str, String)], filled: &mut String) {
    let value = |name: &str| values.iter().find(|(there, _)| *there == name);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        rest = after;
        let block = name.strip_prefix('#').map(|name| (name, true));
        match block.or_else(|| name.strip_prefix('^').map(|name| (name, false))) {
            Some((name, wanted)) => {
                let end = format!("{{{{/{name}}}}}");
                let (inside, after) = rest.split_once(&end).unwrap_or((rest, ""));
                if value(name).is_some() == wanted {
                    fill(inside, values, filled);
                }
                rest = after;
            }
            None => {
                if let Some((_, value)) = value(name) {
                    filled.push_str(value);
                }
            }
        }
    }
    filled.push_str(rest);
}

/// Every name that a text uses.
#[cfg(test)]
pub(super) fn names(text: &str) -> Vec<&str> {
    text.split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"))
        .map(|(name, _)| name.trim_start_matches(['#', '^', '/']))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_blocks() {
        let text =
            "a {{x}}\n\n{{#y}}\ny is {{y}}{{#x}} and x{{/x}}\n{{/y}}\n{{^y}}\nno y\n{{/y}}\n\nend";
        let x = ("x", "{{y}}".to_owned());
        assert_eq!(
            render(text, std::slice::from_ref(&x)),
            "a {{y}}\n\nno y\n\nend"
        );
        let y = ("y", "2".to_owned());
        assert_eq!(render(text, &[x, y]), "a {{y}}\n\ny is 2 and x\n\nend");
        assert_eq!(render("a {{ b", &[]), "a {{ b");
    }
}
