//! The little of CloudWatch's metric math that the alarms of the template use: numbers, metrics by their
//! id, `+ - * /`, comparisons (1 when true) and `IF(condition, then, otherwise)`.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>

use std::collections::BTreeMap;

/// What an expression comes to.
///
/// # Panics
/// When it is not understood, or names a metric that has no value.
pub fn evaluate(expression: &str, values: &BTreeMap<&str, f64>) -> f64 {
    let mut reading = Reading {
        tokens: tokens(expression),
        at: 0,
        values,
    };
    let value = reading.comparison();
    assert!(
        reading.at == reading.tokens.len(),
        "not understood to its end: {expression}"
    );
    value
}

fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
        let length = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else if rest.starts_with(">=") || rest.starts_with("<=") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    tokens
}

struct Reading<'a> {
    tokens: Vec<String>,
    at: usize,
    values: &'a BTreeMap<&'a str, f64>,
}

impl Reading<'_> {
    fn next(&mut self) -> String {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token.unwrap_or_else(|| panic!("it ends too early: {:?}", self.tokens))
    }

    /// The next one when it is one of these.
    fn take(&mut self, wanted: &[&str]) -> Option<String> {
        let token = self.tokens.get(self.at)?;
        let found = wanted.contains(&token.as_str()).then(|| token.clone());
        self.at += usize::from(found.is_some());
        found
    }

    fn expect(&mut self, wanted: &str) {
        let token = self.next();
        assert_eq!(token, wanted, "{:?}", self.tokens);
    }

    fn comparison(&mut self) -> f64 {
        let left = self.sum();
        let Some(operator) = self.take(&[">", "<", ">=", "<="]) else {
            return left;
        };
        let right = self.sum();
        f64::from(match operator.as_str() {
            ">" => left > right,
            "<" => left < right,
            ">=" => left >= right,
            _ => left <= right,
        })
    }

    fn sum(&mut self) -> f64 {
        let mut value = self.product();
        while let Some(operator) = self.take(&["+", "-"]) {
            let more = self.product();
            value += if operator == "+" { more } else { -more };
        }
        value
    }

    fn product(&mut self) -> f64 {
        let mut value = self.atom();
        while let Some(operator) = self.take(&["*", "/"]) {
            let factor = self.atom();
            value = if operator == "*" {
                value * factor
            } else {
                value / factor
            };
        }
        value
    }

    fn atom(&mut self) -> f64 {
        match self.next().as_str() {
            "(" => {
                let value = self.comparison();
                self.expect(")");
                value
            }
            "IF" => {
                self.expect("(");
                let condition = self.comparison();
                self.expect(",");
                let then = self.comparison();
                self.expect(",");
                let otherwise = self.comparison();
                self.expect(")");
                // Computed both: what is not chosen may be a division by zero.
                if condition == 0.0 { otherwise } else { then }
            }
            token => match token.parse() {
                Ok(number) => number,
                Err(_) => *self
                    .values
                    .get(token)
                    .unwrap_or_else(|| panic!("{token} has no value: {:?}", self.tokens)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_computes_as_one_reads_it() {
        let values = BTreeMap::from([("hits", 30.0), ("misses", 90.0), ("none", 0.0)]);
        for (expression, expected) in [
            ("7", 7.0),
            ("hits / 100", 0.3),
            ("hits + misses / 3 - 10", 50.0),
            ("hits / (hits + misses)", 0.25),
            ("hits>=30", 1.0),
            ("IF(hits + misses >= 121, 0, 1)", 1.0),
            ("IF(none >= 1, hits / none, 0.5)", 0.5),
            ("IF(hits < misses, IF(1 > 2, 3, 4), 5)", 4.0),
        ] {
            let value = evaluate(expression, &values);
            assert!((value - expected).abs() < 1e-9, "{expression}: {value}");
        }
    }

    #[test]
    #[should_panic(expected = "has no value")]
    fn a_metric_that_is_none_is_noticed() {
        evaluate("hits / requests", &BTreeMap::from([("hits", 1.0)]));
    }
}
