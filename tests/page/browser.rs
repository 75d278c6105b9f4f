//! A client for browsers that speaks the WebDriver protocol: JSON over HTTP (W3C, 2018).

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A small phone's window, in pixels.
pub const PHONE: [u32; 2] = [360, 740];

/// How long to wait for something to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `chromedriver`, until it is dropped.
pub struct Driver {
    child: Child,
    address: String,
}

impl Driver {
    /// Starts `chromedriver`, or prints that it is missing and returns `None`.
    pub fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let started = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(e) if std::env::var_os("GLIMPSE_TEST_BROWSER").is_some() => {
                panic!("chromedriver cannot be started: {e}")
            }
            Err(_) => {
                println!("skipped: there is no chromedriver");
                return None;
            }
        };
        let driver = Driver {
            child,
            address: format!("http://127.0.0.1:{port}"),
        };
        let until = Instant::now() + PATIENCE;
        while ureq::get(format!("{}/status", driver.address))
            .call()
            .is_err()
        {
            assert!(Instant::now() < until, "chromedriver does not answer");
            sleep(Duration::from_millis(20));
        }
        Some(driver)
    }

    /// Opens a browser whose page has this size.
    pub fn browser(&self, [width, height]: [u32; 2]) -> Browser {
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update"],
        });
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = post(&format!("{}/session", self.address), &wanted);
        let browser = Browser {
            session: format!(
                "{}/session/{}",
                self.address,
                session["sessionId"].as_str().unwrap()
            ),
        };
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser with one window, until it is dropped.
pub struct Browser {
    session: String,
}

impl Browser {
    pub fn open(&self, url: &str) {
        self.post("url", json!({ "url": url }));
    }

    /// Runs `script` and returns its result.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Runs an asynchronous script to its end.
    pub fn run_later(&self, script: &str) {
        let script = format!(
            "const done = arguments[0];
             (async () => {{ {script} }})().then(() => done(null), (e) => done(String(e)));"
        );
        let failure = self.post("execute/async", json!({ "script": script, "args": [] }));
        assert_eq!(failure, Value::Null);
    }

    /// Runs `script` again and again until its result is neither null nor false, and returns that.
    pub fn wait(&self, what: &str, script: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.run(script);
            if value != Value::Null && value != Value::Bool(false) {
                return value;
            }
            assert!(
                Instant::now() < until,
                "no {what}; the page shows: {}",
                self.run("return document.body.innerText")
            );
            sleep(Duration::from_millis(20));
        }
    }

    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("element/{element}/click"), json!({}));
    }

    /// Sends keys, in the spelling of the protocol, to the focused element.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            let key = key.to_string();
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }))
        });
        let strokes: Vec<Value> = strokes.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("actions", json!({ "actions": [keyboard] }));
    }

    /// Chooses files in a file input.
    pub fn upload(&self, selector: &str, files: &[&Path]) {
        let element = self.element(selector);
        let paths: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        self.post(
            &format!("element/{element}/value"),
            json!({ "text": paths.join("\n") }),
        );
    }

    /// Sets a preference of the user that media queries can read.
    pub fn prefer(&self, feature: &str, value: &str) {
        let features = json!([{ "name": feature, "value": value }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    /// The warnings and errors on the console since the last call.
    pub fn console(&self) -> Vec<String> {
        let lines = self.post("se/log", json!({ "type": "browser" }));
        let lines = lines.as_array().unwrap().iter();
        let bad = lines.filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        bad.map(|line| line["message"].as_str().unwrap().to_string())
            .collect()
    }

    fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        let element = self.post("element", wanted);
        let id = element.as_object().unwrap().values().next().unwrap();
        id.as_str().unwrap().to_string()
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.post(
            "goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        );
    }

    fn post(&self, command: &str, body: Value) -> Value {
        post(&format!("{}/{command}", self.session), &body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
    }
}

/// Sends a command, and returns the `value` of the answer.
fn post(url: &str, body: &Value) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let request = agent.post(url).header("Content-Type", "application/json");
    let mut answer = request.send(body.to_string()).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let value = serde_json::from_str::<Value>(&text).unwrap()["value"].take();
    assert!(answer.status().is_success(), "{url}: {value}");
    value
}
