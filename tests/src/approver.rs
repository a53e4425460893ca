//! A person with a browser, who decides on what a session may do.

use crate::mcp::http_client;

/// They log in when they are first asked to.
#[derive(Debug)]
pub struct Approver {
    http: reqwest::Client,
    token: String,
    cookie: Option<String>,
}

/// What the browser shows.
#[derive(Debug)]
pub struct Page {
    /// Its status.
    pub status: u16,
    /// Its HTML.
    pub text: String,
}

impl Approver {
    /// Somebody who has this token.
    pub fn new(token: &str) -> Self {
        Self {
            http: http_client(),
            token: token.to_owned(),
            cookie: None,
        }
    }

    /// Opens a page.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn open(&self, url: &str) -> Page {
        let request = self.http.get(url);
        self.send(request).await.0
    }

    /// Logs in at a page.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn log_in(&mut self, url: &str) {
        let body = form(&[("action", "login"), ("token", &self.token)]);
        let (page, cookie) = self.send(self.post(url, body)).await;
        assert_eq!(page.status, 303, "{}", page.text);
        self.cookie = cookie;
    }

    /// Decides by one of the page's forms; gives what the browser is told then: 303 leads back to the
    /// page.
    ///
    /// # Panics
    /// When the page has no such form.
    pub async fn decide(&mut self, url: &str, decision: &str, more: &[(&str, &str)]) -> Page {
        if self.cookie.is_none() {
            self.log_in(url).await;
        }
        let page = self.open(url).await;
        assert_eq!(page.status, 200, "{}", page.text);
        self.send_form(url, &page, decision, more).await
    }

    /// The same by a page that was opened before.
    ///
    /// # Panics
    /// As there.
    pub async fn send_form(
        &self,
        url: &str,
        page: &Page,
        decision: &str,
        more: &[(&str, &str)],
    ) -> Page {
        let value = |name: &str| {
            let at = format!("name=\"{name}\" value=\"");
            let rest = page.text.split(&at).nth(1);
            let rest = rest.unwrap_or_else(|| panic!("no {name} in {}", page.text));
            rest.split('"').next().expect("a value").to_owned()
        };
        let (token, digest) = (value("form_token"), value("digest"));
        let mut fields = vec![
            ("action", "decide"),
            ("form_token", &token),
            ("digest", &digest),
            ("decision", decision),
        ];
        fields.extend(more);
        self.send(self.post(url, form(&fields))).await.0
    }

    fn post(&self, url: &str, body: String) -> reqwest::RequestBuilder {
        self.http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(body)
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> (Page, Option<String>) {
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let response = request.send().await.expect("the page answers");
        let cookie = response.headers().get("set-cookie").map(|value| {
            let text = value.to_str().expect("a cookie is text");
            text.split(';').next().unwrap_or_default().to_owned()
        });
        let page = Page {
            status: response.status().as_u16(),
            text: response.text().await.expect("a page is text"),
        };
        (page, cookie)
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
